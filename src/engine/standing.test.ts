import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Failure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { lossMs, storedOf } from './standing.ts';
import { DATED, made, opened } from './stores.suite.ts';
import { kv } from './testing.ts';
import { change, loggedDriver, loggedServer, second, ship } from './testing-log.ts';
import { recoverable } from './windows.ts';

/** Followed up to second 60, with a point of second 10; its clock is ahead. */
async function followed() {
  const ctx = testContext();
  const on = await opened(ctx, DATED, await made(ctx, DATED));
  const server = loggedServer(90_000);
  const item = kv('db', server, { driver: loggedDriver });
  change(server, 10, 'a', '1');
  await backUp(ctx, { stack: 'shop', plan: 'p', components: [item], stores: [on] });
  change(server, 50, 'a', '2');
  await ship(ctx, on, 'db', server, [60]);
  server.now = 60;
  const look = async (at: number) => {
    const known = await recoverable(ctx, on.store, 'db', await Array.fromAsync(on.store.list(ctx)));
    const stored = await storedOf(ctx, item.component, known);
    return [stored?.state, stored?.behindMs, lossMs(known, stored, second(at))];
  };
  return { ctx, on, server, look, [Symbol.asyncDispose]: on[Symbol.asyncDispose] };
}

test('nothing is lost of a service that has written nothing since, however long ago that was', async () => {
  await using it = await followed();
  assert.deepEqual(await it.look(5000), ['stored', 0, 0]);
});

test('fault 30: what the service has written is compared with what is in the store', async () => {
  await using it = await followed();
  change(it.server, 4000, 'a', '3'); // nobody ships it, whatever else is green
  assert.deepEqual(await it.look(5000), ['behind', 3_940_000, 4_940_000]);
  await ship(it.ctx, it.on, 'db', it.server, [4000]);
  assert.deepEqual(await it.look(5000), ['stored', 0, 0]);
});

test('a service that was set back on its own log is told, and what it may have written since counts as lost', async () => {
  await using it = await followed();
  [it.server.now, it.server.end] = [5000, 40];
  assert.deepEqual(await it.look(5000), ['set-back', null, 4_940_000]);
  // Positions that are moments: a clock that is a little behind is no loss.
  [it.server.now, it.server.end] = [59, null];
  assert.deepEqual(await it.look(61), ['stored', 0, 0]);
});

test('a gap behind the last window is lost, though the end of the log is stored', async () => {
  await using it = await followed();
  await ship(it.ctx, it.on, 'db', it.server, [-70, 80]);
  it.server.now = 80;
  assert.deepEqual(await it.look(100), ['stored', 0, 40_000]);
});

test('a service that writes another log by now, or does not answer, is told, and judged by the store', async () => {
  await using it = await followed();
  it.server.source = { log: 'another' };
  assert.deepEqual(await it.look(70), ['other', null, 10_000]);
  it.server.standing = () => {
    throw new Failure('unreachable', 'no answer');
  };
  assert.deepEqual(await it.look(70), ['unknown', null, 10_000]);
});
