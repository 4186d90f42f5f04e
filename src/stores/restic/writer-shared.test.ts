import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../core/bytes.ts';
import { interruption, withSignal } from '../../core/context.ts';
import { isFailure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { noise, P1, P2, P3, pointOf } from '../suite/rig.suite.ts';
import { begin, fill, made, openStore, readParts } from './testing.ts';

test('a backup that is stopped takes none with it that runs beside it in the same process', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  const stop = new AbortController();
  const stopped = withSignal(ctx, stop.signal);
  await using first = await begin(stopped, store, P1, { db: {} });
  await using second = await begin(ctx, store, P2, { db: {} });
  const sink = second.sink('db');
  await first.sink('db').put(stopped, 'one', bytesOf(noise(1, 5000)));
  stop.abort();
  await assert.rejects(fill(stopped, first, 'db', { one: noise(1, 5000) }), (error) => isFailure(error, 'interrupted'));
  await first[Symbol.asyncDispose]();
  const data = noise(2, 3_000_000);
  await sink.put(ctx, 'two', bytesOf(data));
  const receipts = [await sink.receipt(ctx)];
  await store.commit(ctx, second, pointOf(P2, receipts), receipts);
  assert.ok((await readParts(ctx, store, P2, 'db')).two?.equals(data));
});

test('when all backups of a process are stopped none waits for the store, and the next one is not affected', async () => {
  const ctx = testContext();
  const inner = await made(ctx);
  const hanging = Promise.withResolvers<void>();
  let hangs = false;
  const bucket: Bucket = {
    ...inner,
    async put(within, key, body, options) {
      if (!hangs || !key.startsWith('data/')) return await inner.put(within, key, body, options);
      const stopped = Promise.withResolvers<never>();
      within.signal.addEventListener('abort', () => stopped.reject(interruption(within.signal)));
      hanging.resolve();
      return await stopped.promise;
    },
  };
  await using store = await openStore(ctx, bucket);
  const stops = [new AbortController(), new AbortController()];
  const [one, two] = stops.map(({ signal }) => withSignal(ctx, signal));
  assert.ok(one && two);
  await using first = await begin(one, store, P1, { db: {} });
  await using _second = await begin(two, store, P2, { db: {} });
  hangs = true;
  const waiting = fill(one, first, 'db', { one: noise(1, 5000) });
  const isStopped = assert.rejects(waiting, (error) => isFailure(error, 'interrupted'));
  await hanging.promise;
  for (const stop of stops) stop.abort();
  await isStopped;
  hangs = false;
  await using third = await begin(ctx, store, P3, { db: {} });
  const receipts = [await fill(ctx, third, 'db', { three: noise(3, 5000) })];
  await store.commit(ctx, third, pointOf(P3, receipts), receipts);
});
