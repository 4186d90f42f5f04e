// The use cases over real stores in a bucket.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { copyPoints } from './copy.ts';
import { drillPoint } from './drill.ts';
import type { NamedStore } from './model.ts';
import { listPoints } from './points.ts';
import { prunePoints } from './prune.ts';
import { restorePoint } from './restore.ts';
import { diesAnywhere, drivers, KINDS, made, opened, stack } from './stores.suite.ts';
import { kvSandboxes } from './testing.ts';
import { verifyPoints } from './verify.ts';

for (const kind of KINDS) {
  describe(`over a store that is ${kind.title}`, () => {
    test('what was backed up verifies, is drilled, restored, copied and pruned', async () => {
      const ctx = testContext();
      const { components, servers } = stack();
      await using store = await opened(ctx, kind, await made(ctx, kind));
      const request = { stack: 'shop', plan: 'nightly', components, stores: [store] };
      const first = await backUp(ctx, request);
      servers[0]?.data.set('b', '2');
      const { point } = await backUp(ctx, request);
      assert.ok(first.complete && point);
      assert.equal(servers[0]?.kept, 2, 'what did not change was kept');
      const verified = await verifyPoints(ctx, { in: store, readData: 1 });
      assert.equal(verified.findings.verdict, 'pass', JSON.stringify(verified.findings.kept));
      const drilled = await drillPoint(ctx, { from: store, point, components, sandboxes: kvSandboxes() });
      assert.equal(drilled.evidence.verdict, 'pass', JSON.stringify(drilled.evidence.components));
      for (const server of servers) server.data.clear();
      const restored = await restorePoint(ctx, { from: store, point, components });
      assert.equal(restored.verdict, 'pass');
      assert.equal(servers[0]?.data.get('odd/ñame')?.length, 70_000);

      const rulesOf = () => ({ keep: { last: 1 }, timezone: 'UTC' });
      const pruned = await prunePoints(ctx, { in: store, stack: 'shop', rulesOf, apply: true });
      assert.deepEqual(pruned.removed, [first.point?.id]);
      const told = ctx.events.filter(({ task, phase }) => task === 'a' && ['remove', 'look'].includes(phase));
      assert.deepEqual([...new Set(told.map(({ phase }) => phase))], ['remove', 'look']);
      const [left] = await listPoints(ctx, store);
      assert.notEqual(left?.provedAt, null);
      const after = await verifyPoints(ctx, { in: store, readData: 1 });
      assert.equal(after.findings.verdict, 'pass', JSON.stringify(after.findings.kept));
    });

    for (const other of KINDS.filter((each) => each !== kind)) {
      test(`a point copied to one that is ${other.title} restores as well, and back again`, async () => {
        const ctx = testContext();
        const { components, servers } = stack();
        await using from = await opened(ctx, kind, await made(ctx, kind), 'from');
        await using to = await opened(ctx, other, await made(ctx, other), 'to');
        await using back = await opened(ctx, kind, await made(ctx, kind), 'back');
        const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
        assert.ok(point);
        for (const [source, target] of [
          [from, to],
          [to, back],
        ] as const) {
          const [copied] = await copyPoints(ctx, { from: source, to: target, drivers });
          assert.equal(copied?.error, null);
          for (const server of servers) server.data.clear();
          const restored = await restorePoint(ctx, { from: target, point, components });
          assert.equal(restored.verdict, 'pass');
          const verified = await verifyPoints(ctx, { in: target, readData: 1 });
          assert.equal(verified.findings.verdict, 'pass', JSON.stringify(verified.findings.kept));
        }
      });
    }

    diesAnywhere(kind, kind.stride);
  });
}

test('stores of different formats get one point from one read', async () => {
  const ctx = testContext();
  const { components, servers } = stack();
  const stores: (NamedStore & AsyncDisposable)[] = [];
  for (const [at, kind] of KINDS.entries()) stores.push(await opened(ctx, kind, await made(ctx, kind), `s${at}`));
  const { point, complete } = await backUp(ctx, { stack: 'shop', plan: null, components, stores });
  assert.ok(point && complete);
  for (const from of stores) {
    for (const server of servers) server.data.clear();
    assert.equal((await restorePoint(ctx, { from, point, components })).verdict, 'pass');
    const [view] = await listPoints(ctx, from);
    assert.deepEqual(view?.point, point, 'the manifest is the same in each');
    await from[Symbol.asyncDispose]();
  }
});
