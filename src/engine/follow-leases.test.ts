// Of those that follow one component one writes its journal at a time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import { isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { followStore, grow, numbers, numbersServer, running, upTo } from './follow-testing.ts';
import { made, opened, RESTIC } from './stores.suite.ts';

test('of two that follow one component the second ends and says so, and the first goes on', async () => {
  const ctx = testContext();
  const server = numbersServer();
  const disk = await made(ctx, RESTIC);
  await using store = await opened(ctx, RESTIC, disk);
  await using other = await opened(ctx, RESTIC, disk);
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.based();
  const [second] = await running(ctx, { components: [numbers('db', server)], stores: [followStore(other)] }).done;
  assert.equal(second?.error?.code, 'locked');
  assert.match(second?.error?.hint ?? '', /one process at a time/);
  grow(server, 3);
  await run.until(upTo(3));
  await run.stop();
});

test('a lease of a host that may be dead is waited for, with its end named, and then it goes on', async () => {
  const ctx = testContext();
  const disk = memoryBucket();
  await made(ctx, RESTIC, disk);
  await using store = await opened(ctx, RESTIC, disk);
  await using writer = await store.store.journal('db').write(ctx);
  const keys = await Array.fromAsync(disk.list(ctx, ''), ({ key }) => key);
  const lease = keys.find((key) => key.includes('leases/journal/db/')) ?? '';
  await writer[Symbol.asyncDispose]();
  await disk.put(ctx, lease, Buffer.from('of a host that nobody can see into'));
  const begunMs = ctx.now().getTime();
  const run = running(ctx, { components: [numbers('db', numbersServer())], stores: [followStore(store)] });
  const { error } = await run.until(({ state }) => state === 'waiting');
  assert.ok(isFailure(error, 'locked'));
  assert.match(error.message, /it counts until 20/);
  await run.based();
  assert.ok(ctx.now().getTime() - begunMs > 600_000);
  await run.stop();
});

test('who only puts something into a journal for a moment does not end who follows', async () => {
  const ctx = testContext();
  const disk = await made(ctx, RESTIC);
  await using store = await opened(ctx, RESTIC, disk);
  await using other = await opened(ctx, RESTIC, disk);
  const writer = await other.store.journal('db').write(ctx);
  const run = running(ctx, { components: [numbers('db', numbersServer())], stores: [followStore(store)] });
  const { error } = await run.until(({ state }) => state === 'waiting');
  assert.ok(isFailure(error, 'locked'));
  await writer[Symbol.asyncDispose]();
  await run.based();
  await run.stop();
});

test('who lost his journal to another one ends and says so (fault 7)', async () => {
  const ctx = testContext();
  const server = numbersServer();
  const disk = memoryBucket();
  await made(ctx, RESTIC, disk);
  await using store = await opened(ctx, RESTIC, disk);
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.based();
  for await (const { key } of disk.list(ctx, 'lifeboat/leases/journal/')) await disk.delete(ctx, key);
  ctx.advance(2 * 60_000);
  grow(server, 3);
  const [ended] = await run.done;
  assert.equal(ended?.error?.code, 'lease-lost');
  assert.equal(server.acknowledged, 0);
});
