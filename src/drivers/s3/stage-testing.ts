// Where tests of what goes wrong with S3 begin: a bucket docs of a MinIO that all of a file share.

import assert from 'node:assert/strict';
import type { S3Server } from '../../../test/servers/s3.ts';
import { type Exchange, type HttpFault, startFaultProxy } from '../../buckets/s3/fault-proxy.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Capture, Context, Finding, Source } from '../../core/model.ts';
import { memoryParts } from '../../core/testing.ts';
import type { Client } from './client.ts';
import { s3Driver } from './driver.ts';
import { makeBucket, put, settingsOf, sharedMinio, wipe } from './testing.ts';

export const LARGE_BYTES = 17 * 1024 * 1024;

export interface Stage {
  readonly server: S3Server;
  readonly client: Client;
  /** Nothing but the bucket, with three objects. */
  filled(versions?: boolean): Promise<void>;
  /** The settings of a component that sees the bucket through a proxy. */
  through(choose: (exchange: Exchange) => HttpFault | undefined, more?: object): Promise<Through>;
  capture(settings: unknown, context?: Context): Promise<{ source: Source; capture: Capture }>;
  /** Of a component that sees it as it is. */
  readonly direct: object;
  /** What does not pass of a comparison with what is there. */
  equal(source: Source, settings?: unknown): Promise<Finding[]>;
}
type Through = { settings: object } & Awaited<ReturnType<typeof startFaultProxy>>;

export async function stage(ctx: Context): Promise<Stage> {
  const { server, client } = await sharedMinio(ctx);
  const direct = settingsOf(server, { buckets: ['docs'] });
  return {
    ...{ server, client, direct },
    async filled(versions = false) {
      await wipe(ctx, client);
      await makeBucket(ctx, client, 'docs', { versions });
      await put(ctx, client, 'docs', [{ key: 'a' }, { key: 'b' }, { key: 'c', body: 'see' }]);
    },
    async through(choose, more = {}) {
      const proxy = await startFaultProxy(server.endpoint, choose);
      const settings = { ...settingsOf(server, { buckets: ['docs'], ...more }), endpoint: proxy.endpoint };
      return Object.assign(proxy, { settings });
    },
    async capture(settings, context = ctx) {
      const { sink, source } = memoryParts();
      return { capture: await s3Driver.open(settings).capture(context, sink), source };
    },
    async equal(source, settings = direct) {
      const actual = await s3Driver.open(settings).inventory(ctx);
      const findings = await Array.fromAsync(s3Driver.compare(ctx, inventoryOf(source), actual));
      assert.notEqual(findings.length, 0);
      return findings.filter(({ verdict }) => verdict !== 'pass');
    },
  };
}
