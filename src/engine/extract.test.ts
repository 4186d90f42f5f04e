import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { isFailure } from '../core/errors.ts';
import type { Merged } from '../core/model.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { extractRows, mergeRows } from './extract.ts';
import { kv, kvSandboxes, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

async function filled() {
  const [ctx, on, server, sandboxes] = [testContext(), disk(), kvServer({ a: '1', b: '2', c: '3' }), kvSandboxes()];
  const component = kv('db', server);
  const { point } = await backUp(ctx, { stack: 'shop', plan: null, components: [component], stores: [named('a', on)] });
  assert.ok(point);
  return { ctx, on, server, sandboxes, request: { from: named('a', on), point, component, selection: {}, sandboxes } };
}

describe('extract', () => {
  test('streams rows, and starts a sandbox only when the driver needs one', async () => {
    const { ctx, request, sandboxes } = await filled();
    const rows = await Array.fromAsync(extractRows(ctx, request));
    assert.deepEqual(
      rows.map(({ key, value }) => `${key}=${value}`),
      ['a=1', 'b=2', 'c=3'],
    );
    assert.equal(sandboxes.started, 0);
    const selection = { where: 'through a sandbox' };
    for await (const row of extractRows(ctx, { ...request, selection })) {
      assert.equal(row.key, 'a');
      assert.equal(sandboxes.running, 1);
      break; // also when the reader has seen enough
    }
    assert.deepEqual([sandboxes.started, sandboxes.running], [1, 0]);
  });

  test('shows the difference first and changes nothing unless it is confirmed', async () => {
    const { ctx, request, server } = await filled();
    server.data.delete('a');
    server.data.set('b', 'changed');
    const seen: Merged[] = [];
    const confirm = async (difference: Merged) => {
      seen.push(difference);
      return false;
    };
    const merge = { ...request, into: request.component, confirm };
    const difference = { missing: 1, different: 1, same: 1, applied: 0 };
    assert.deepEqual(await mergeRows(ctx, { ...merge, mode: 'missing-only' }), { difference, applied: null });
    assert.deepEqual(await mergeRows(ctx, { ...merge, mode: 'preview' }), { difference, applied: null });
    assert.deepEqual(seen, [difference]);
    assert.deepEqual([...server.data].toSorted(), [
      ['b', 'changed'],
      ['c', '3'],
    ]);
  });

  test('brings back what is missing, or also what is different', async () => {
    const { ctx, request, server } = await filled();
    server.data.delete('a');
    server.data.set('b', 'changed');
    const merge = { ...request, into: request.component, confirm: async () => true };
    const first = await mergeRows(ctx, { ...merge, mode: 'missing-only' });
    assert.equal(first.applied?.applied, 1);
    assert.deepEqual([server.data.get('a'), server.data.get('b')], ['1', 'changed']);
    const second = await mergeRows(ctx, { ...merge, mode: 'overwrite' });
    assert.equal(second.applied?.applied, 1);
    assert.equal(server.data.get('b'), '2');
    const third = await mergeRows(ctx, { ...merge, mode: 'overwrite' });
    assert.deepEqual(third, { difference: { missing: 0, different: 0, same: 3, applied: 0 }, applied: null });
    assert.deepEqual(
      readdirSync(ctx.scratch).filter((name) => name.startsWith('extract-')),
      [],
    );
  });

  test('a kind that has no rows, or another kind, is a clear refusal', async () => {
    const { ctx, request } = await filled();
    const { extract: _, merge: __, ...without } = request.component.component;
    const component = { ...request.component, component: without };
    await assert.rejects(Array.fromAsync(extractRows(ctx, { ...request, component })), (error) =>
      isFailure(error, 'usage'),
    );
    const merge = { ...request, mode: 'preview' as const, confirm: async () => true };
    for (const into of [component, { ...request.component, kind: 'redis' }]) {
      await assert.rejects(mergeRows(ctx, { ...merge, into }), (error) => isFailure(error, 'usage'));
    }
    const point = { ...request.point, components: {} };
    await assert.rejects(Array.fromAsync(extractRows(ctx, { ...request, point })), (error) =>
      isFailure(error, 'missing'),
    );
  });
});
