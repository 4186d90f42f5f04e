import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure, isFailure } from '../core/errors.ts';
import { identityOf } from '../core/liveness.ts';
import { idOf } from '../core/manifest.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import type { KeepRules } from './keep.ts';
import { listPoints } from './points.ts';
import { prunePoints } from './prune.ts';
import { kv, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START = Date.parse('2026-03-01T02:00:00Z');

describe('prune', () => {
  async function filled(days: number) {
    const [ctx, on] = [testContext(), disk()];
    const components = [kv('db', kvServer({ a: '1' }))];
    for (let day = 0; day < days; day++) {
      const slot = new Date(START + day * DAY_MS);
      await backUp(ctx, { stack: 'shop', plan: 'nightly', components, stores: [named('a', on)], slot });
    }
    ctx.advance(START + days * DAY_MS - ctx.now().getTime());
    const rulesOf = (keep: KeepRules) => () => ({ keep, timezone: 'UTC' });
    return { ctx, on, request: { in: named('a', on), stack: 'shop' }, rulesOf };
  }

  test('changes nothing until it is told to apply', async () => {
    const { ctx, on, request, rulesOf } = await filled(10);
    const seen = await prunePoints(ctx, { ...request, rulesOf: rulesOf({ daily: 6 }), apply: false });
    assert.deepEqual([seen.removed.length, seen.applied, on.points.size], [4, false, 10]);
    const done = await prunePoints(ctx, { ...request, rulesOf: rulesOf({ daily: 6 }), apply: true });
    assert.deepEqual(done.removed, seen.removed);
    assert.equal(on.points.size, 6);
  });

  test('refuses when over half of all would go, until it is allowed (fault 11)', async () => {
    const { ctx, on, request, rulesOf } = await filled(10);
    const harsh = { ...request, rulesOf: rulesOf({ last: 1 }), apply: true };
    await assert.rejects(prunePoints(ctx, harsh), (error) => isFailure(error, 'not-confirmed'));
    assert.equal(on.points.size, 10);
    const preview = await prunePoints(ctx, { ...harsh, apply: false });
    assert.ok(isFailure(preview.refusal, 'not-confirmed'));
    await prunePoints(ctx, { ...harsh, allowMany: true });
    assert.equal(on.points.size, 1);
  });

  test('refuses when the newest point lies more than five minutes ahead (fault 11)', async () => {
    const { ctx, on, request, rulesOf } = await filled(10);
    ctx.advance(-3 * DAY_MS);
    const gentle = { ...request, rulesOf: rulesOf({ daily: 9 }), apply: true };
    await assert.rejects(prunePoints(ctx, gentle), (error) => isFailure(error, 'clock-skew'));
    assert.equal(on.points.size, 10);
  });

  test('refuses when a point was begun more than five minutes ahead, whatever slot it is named after', async () => {
    const { ctx, on, request, rulesOf } = await filled(10);
    const ahead = testContext({ now: () => new Date('2030-01-01T00:00:00Z') });
    const late = { stack: 'shop', plan: 'nightly', components: [kv('db', kvServer({ a: '1' }))], stores: [request.in] };
    await backUp(ahead, { ...late, slot: new Date(START - DAY_MS) });
    const gentle = { ...request, rulesOf: rulesOf({ daily: 9 }), apply: true };
    await assert.rejects(prunePoints(ctx, gentle), (error) => isFailure(error, 'clock-skew'));
    assert.equal(on.points.size, 11);
  });

  test('a clock that jumps ahead removes nothing that it would have kept before (fault 11)', async () => {
    const { ctx, on, request, rulesOf } = await filled(10);
    ctx.advance(3650 * DAY_MS);
    await prunePoints(ctx, { ...request, rulesOf: rulesOf({ within: 20 * DAY_MS }), apply: true });
    assert.equal(on.points.size, 10);
  });

  test('waits for who uses the store as long as it is told to, says so once, and frees space then', async () => {
    for (const { waitMs, looks, ends } of [
      { waitMs: 60_000, looks: 4, ends: 'freed' },
      { waitMs: 30_000, looks: 3, ends: 'locked' },
      { waitMs: 0, looks: 1, ends: 'locked' },
    ]) {
      const { ctx, on, request, rulesOf } = await filled(4);
      let seen = 0;
      on.fault = (step) => {
        if (step === 'reclaim' && ++seen < 4) throw new Failure('locked', 'in use by process 7');
      };
      const ended = await prunePoints(ctx, { ...request, rulesOf: rulesOf({ daily: 3 }), apply: true, waitMs }).then(
        () => 'freed',
        (error: unknown) => (isFailure(error) ? error.code : error),
      );
      const told = ctx.logged.filter(({ level }) => level === 'warn');
      assert.deepEqual([ended, seen, on.points.size, told.length], [ends, looks, 3, waitMs > 0 ? 1 : 0]);
    }
  });

  test('leaves points of another stack alone', async () => {
    const { ctx, on, request, rulesOf } = await filled(4);
    const none = await prunePoints(ctx, { ...request, stack: 'other', rulesOf: rulesOf({ last: 1 }), apply: true });
    assert.deepEqual([none.decisions, on.points.size], [[], 4]);
  });

  test('takes the proofs of what it removes, and the notes of runs that nobody went on with', async () => {
    const { ctx, on, request, rulesOf } = await filled(4);
    const [oldest = ''] = on.points.keys();
    await request.in.store.records.put(ctx, 'proofs', `${oldest}/copy-1`, {
      format: 1,
      point: oldest,
      how: 'copy',
      at: '',
      components: ['db'],
      source: 'b',
    });
    await request.in.store.records.put(ctx, 'captures', '2026-01-01-000000/db', {});
    assert.equal((await listPoints(ctx, request.in))[0]?.copyOfProved, true);
    await prunePoints(ctx, { ...request, rulesOf: rulesOf({ daily: 3 }), apply: true });
    assert.deepEqual([on.points.size, on.records.size], [3, 0]);
  });

  test('keeps the notes of interrupted runs as long as the grace, and those of a run that goes on', async () => {
    const { ctx, on, request, rulesOf } = await filled(1);
    const { records } = request.in.store;
    const hoursAgo = (hours: number): string => idOf(new Date(ctx.now().getTime() - hours * HOUR_MS));
    const [left, going] = [hoursAgo(3), hoursAgo(5)];
    const run = {
      stack: 'shop',
      plan: null,
      components: [],
      process: await identityOf(process.pid),
      noted_at: ctx.now().toISOString(),
    };
    await records.put(ctx, 'captures', `${left}/db`, {});
    await records.put(ctx, 'captures', going, run);
    const prune = (graceMs: number) =>
      prunePoints(ctx, { ...request, rulesOf: rulesOf({ daily: 3 }), apply: true, graceMs });
    await prune(4 * HOUR_MS);
    assert.deepEqual([...on.records.keys()].sort(), [`captures/${going}`, `captures/${left}/db`]);
    await prune(2 * HOUR_MS);
    assert.deepEqual([...on.records.keys()], [`captures/${going}`]);
  });

  test('keeps the note of a copy while its draft may be there, however old the point is', async () => {
    const { ctx, on, request, rulesOf } = await filled(1);
    const here = await identityOf(process.pid);
    const old = idOf(new Date(ctx.now().getTime() - 100 * DAY_MS));
    for (const gone of [here && { ...here, host: 'elsewhere' }, here && { ...here, start: '1' }]) {
      const noted = ctx.now().toISOString();
      const run = { stack: 'shop', plan: null, components: [], process: gone, noted_at: noted };
      await request.in.store.records.put(ctx, 'captures', old, run);
      const prune = () => prunePoints(ctx, { ...request, rulesOf: rulesOf({ daily: 3 }), apply: true });
      ctx.advance(6 * DAY_MS);
      await prune();
      assert.deepEqual([...on.records.keys()], [`captures/${old}`]);
      ctx.advance(2 * DAY_MS);
      await prune();
      assert.equal(on.records.size, 0);
    }
  });
});
