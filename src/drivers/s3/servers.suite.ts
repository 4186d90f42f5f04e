// The suite of drivers on one kind of server: two of them, one to capture and one to restore into.

import { dirname } from 'node:path';
import { after } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { missing } from '../../../test/servers/need.ts';
import { type S3Name, type S3Server, startS3 } from '../../../test/servers/s3.ts';
import { liveContext } from '../../core/testing.ts';
import { driverSuite } from '../driver.suite.ts';
import { s3Driver } from './driver.ts';
import { clientOf, fill, put, settingsOf, wipe } from './testing.ts';

const BUCKETS = ['photos', { name: 'photos-old' }];

/** `large`: one object is written in parts. */
export async function serverSuite(name: S3Name, large: boolean): Promise<void> {
  const ctx = liveContext();
  const skip = await missing(name, 'versitygw');
  // Sandboxes run what is found in PATH.
  if (skip === false) process.env.PATH = `${process.env.PATH}:${dirname(await installed('versitygw'))}`;
  const servers = new Map<string, Promise<S3Server>>();
  const server = (role: 'source' | 'target'): Promise<S3Server> => {
    const known = servers.get(role);
    if (known) return known;
    const started = startS3(name);
    servers.set(role, started);
    return started;
  };
  after(async () => {
    for (const each of servers.values()) await (await each)[Symbol.asyncDispose]();
  });
  driverSuite({
    driver: s3Driver,
    name: `s3 on ${name}`,
    skip,
    async filled() {
      const source = await server('source');
      const client = clientOf(ctx, source);
      await wipe(ctx, client);
      await fill(ctx, client, large);
      return {
        settings: settingsOf(source, { buckets: BUCKETS }),
        change: () => put(ctx, client, 'photos', [{ key: 'many/3/3', body: 'changed' }]),
        [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
      };
    },
    async empty() {
      const target = await server('target');
      await using client = clientOf(ctx, target);
      await wipe(ctx, client);
      return { settings: settingsOf(target, { buckets: BUCKETS }), [Symbol.asyncDispose]: async () => undefined };
    },
    nowhere: { endpoint: 'http://127.0.0.1:1', access_key: 'a', secret_key: 'b', buckets: ['photos'] },
    secret: 'testsecret123',
    except: {
      'brings back what was lost, and only that': 'chosen objects come back with restore --select',
      'restores beside the live data, which stays until it is published': 'restore --rename does that',
    },
  });
}
