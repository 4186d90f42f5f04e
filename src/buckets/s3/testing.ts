// A real S3 behind the fault proxy, for tests.

import { randomUUID } from 'node:crypto';
import { after } from 'node:test';
import { type S3Server, startS3 } from '../../../test/servers/s3.ts';
import { readAll } from '../../core/bytes.ts';
import type { Bytes } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { s3Bucket } from './bucket.ts';
import { type Exchange, type FaultProxy, type HttpFault, startFaultProxy } from './fault-proxy.ts';

let server: Promise<S3Server> | undefined;
after(async () => await (await server)?.[Symbol.asyncDispose]());

export interface Rig extends AsyncDisposable {
  readonly bucket: Bucket;
  /** The same through a connection of its own, or at another prefix: '' is the whole bucket of the server. */
  again(prefix?: string): Bucket;
  readonly proxy: FaultProxy;
  /** The same bucket without the proxy. */
  readonly truth: Bucket;
  readonly ctx: TestContext;
}

/** A real S3 behind a proxy that does as `choose` says. */
export async function rig(
  choose: (exchange: Exchange) => HttpFault | undefined,
  settings: Record<string, unknown> = {},
  { host = '127.0.0.1', ...limits }: { stuckMs?: number; host?: string } = {},
): Promise<Rig> {
  const { endpoint, region, accessKey, secretKey, bucket: name } = await (server ??= startS3('versitygw'));
  const proxy = await startFaultProxy(endpoint, choose);
  const own = randomUUID();
  const seen = proxy.endpoint.replace('127.0.0.1', host);
  const common = { region, access_key: accessKey, secret_key: secretKey };
  const again = (prefix = own): Bucket =>
    s3Bucket(`s3://${name}/${prefix}`, { ...common, endpoint: seen, ...settings }, limits);
  const bucket = again();
  const truth = s3Bucket(`s3://${name}/${own}`, { ...common, endpoint });
  return {
    ...{ bucket, again, proxy, truth, ctx: testContext() },
    async [Symbol.asyncDispose]() {
      await Promise.all([bucket.close(), truth.close()]);
      await proxy[Symbol.asyncDispose]();
    },
  };
}

/** The fault for the first so many requests whose line matches. */
export function first(times: number, line: RegExp, fault: HttpFault): (exchange: Exchange) => HttpFault | undefined {
  let left = times;
  return (exchange) => (line.test(exchange.line) && left-- > 0 ? fault : undefined);
}
export const keysOf = async ({ ctx, truth }: Rig): Promise<string[]> =>
  await Array.fromAsync(truth.list(ctx, ''), ({ key }) => key);
export const text = async ({ ctx }: Rig, bucket: Bucket, key: string): Promise<string> =>
  (await readAll(bucket.get(ctx, key))).toString();

export const PART_BYTES = 16 * 1024 * 1024;
/** A little more than one part, in pieces. */
export async function* large(bytes = PART_BYTES + 5): Bytes {
  for (let left = bytes; left > 0; left -= 1024 * 1024) yield Buffer.alloc(Math.min(left, 1024 * 1024), 'x');
}
