// Follows numbers in a process of its own, to be killed: the log is as long as a file is large. Says what it tells the
// service that it may forget.

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { localBucket } from '../buckets/local/bucket.ts';
import { Failure } from '../core/errors.ts';
import { liveContext } from '../core/testing.ts';
import { plainFormat } from '../stores/plain/store.ts';
import { follow } from './follow.ts';
import { grow, numbers, numbersServer } from './follow-testing.ts';

const POLL_MS = 2;
const [dir = ''] = process.argv.slice(2);
const controller = new AbortController();
process.once('SIGTERM', () => controller.abort(new Failure('interrupted', 'stopped')));
const ctx = liveContext({ signal: controller.signal });
const server = numbersServer();
setInterval(() => {
  grow(server, statSync(join(dir, 'log')).size - server.numbers.length);
  process.stdout.write(`${server.acknowledged}\n`);
}, POLL_MS);
const stores = ['one', 'two'].map((name) => ({
  name,
  async open() {
    const store = await plainFormat.open(ctx, localBucket(join(dir, name)), { stack: 'shop', layout: 'dated' });
    return { name, store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
  },
}));
await follow(ctx, { stack: 'shop', components: [numbers('db', server)], stores });
process.exit(0);
