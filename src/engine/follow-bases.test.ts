// The points that a followed component is given by itself, to replay its log on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Failure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { followStore, numbers, numbersServer, running } from './follow-testing.ts';
import { SAFETY_PLAN, type StackComponent } from './model.ts';
import { made, opened, RESTIC } from './stores.suite.ts';

test('a base whose copy comes with the log is taken once, and one that fails is taken again', async () => {
  const ctx = testContext();
  const server = numbersServer(4);
  server.syncs = true;
  let bases = 0;
  server.fault = (step) => {
    if (step !== 'base' || ++bases > 1) return;
    server.id = 'log-2'; // another full sync comes next
    throw new Failure('unreachable', 'it broke off');
  };
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  const item = numbers('db', server);
  const run = running(ctx, { components: [item], stores: [followStore(store)] });
  await run.until(({ takesPoint }) => bases === 2 && !takesPoint);
  await run.stop();
  const points = await Array.fromAsync(store.store.list(ctx));
  assert.deepEqual([bases, points.length], [2, 1]);
  assert.deepEqual(points[0]?.components.db?.journal?.source, { id: 'log-2' });
});

test('what a restore has saved is no base: no moment is recovered from it', async () => {
  const ctx = testContext();
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  const item = numbers('db', numbersServer(4));
  const taken: (string | null)[] = [];
  for (const plan of [SAFETY_PLAN, null]) {
    const { point } = await backUp(ctx, { stack: 'shop', plan, components: [item], stores: [store] });
    taken.push(point?.id ?? null);
  }
  const found: string[] = [];
  const component: StackComponent['component'] = {
    ...item.component,
    async follow(within, feed) {
      for (const { point } of await feed.bases(within)) found.push(point);
      throw new Failure('unreachable', 'enough');
    },
  };
  const run = running(ctx, { components: [{ ...item, component }], stores: [followStore(store)] });
  await run.until(({ state }) => state === 'waiting');
  await run.stop();
  assert.deepEqual([...new Set(found)], taken.slice(1));
});

test('a copy that comes with the log is asked for once, also where any other would be repeated', async () => {
  const ctx = testContext();
  const server = numbersServer(4);
  server.syncs = true;
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  const request = { components: [numbers('db', server)], stores: [followStore(store)] };
  const first = running(ctx, request);
  await first.based();
  await first.stop();
  let bases = 0;
  server.id = 'log-2';
  server.fault = (step) => {
    if (step === 'base' && ++bases === 1) throw new Failure('checksum', 'the earlier point is damaged');
    if (step === 'follow' && bases > 0) throw new Failure('unreachable', 'enough');
  };
  const second = running(ctx, request);
  await second.until(({ state }) => state === 'waiting');
  await second.stop();
  assert.equal(bases, 1);
  assert.ok(ctx.logged.some(({ fields }) => (fields as { code?: string } | undefined)?.code === 'nothing-captured'));
});

test('a point that can not be taken as what it copies changes all the time is taken again', async () => {
  const ctx = testContext();
  const server = numbersServer(4);
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  let bases = 0;
  server.fault = (step) => {
    if (step !== 'base' || ++bases > 8) return;
    server.id = `log-${bases + 1}`;
    throw new Failure('different', 'it was replaced while it was read');
  };
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.until(({ takesPoint }) => bases === 9 && !takesPoint);
  await run.stop();
  assert.equal((await Array.fromAsync(store.store.list(ctx))).length, 1);
});
