// What the next run makes of one that was killed.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure, isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { request } from './backup-testing.ts';
import { kv, kvServer } from './testing.ts';
import { type Disk, disk, named } from './testing-store.ts';
import { verifyPoints } from './verify.ts';

describe('after a crash', () => {
  const SLOT = new Date('2026-11-21T02:00:00Z');
  const ID = '2026-11-21-020000';

  /** A run that hangs in its second component for ever, as if its process had been killed there. */
  async function crashed(stores: number) {
    const [ctx, cache, db] = [testContext(), kvServer({ c: '3' }), kvServer({ a: '1' })];
    const components = [kv('cache', cache), kv('db', db)];
    const disks = Array.from({ length: stores }, disk);
    const all = disks.map((on, at) => named(`s${at}`, on));
    const hanging = new Promise<void>((resolve) => {
      db.fault = () => {
        resolve();
        return new Promise<void>(() => undefined);
      };
    });
    void backUp(ctx, request({ components, stores: all, parallel: 1, slot: SLOT }));
    await hanging;
    db.fault = () => undefined;
    return { ctx, cache, db, components, disks, stores: all };
  }

  /** The note says that this very process runs it, which is true; here it says so of one that has gone. */
  function buried(disks: readonly Disk[]): void {
    for (const on of disks) {
      const note = on.records.get(`captures/${ID}`) as { process: { start: string } };
      note.process.start = '1';
    }
  }

  test('a run for the same slot goes on with the draft, and captures nothing again that was finished', async () => {
    const { ctx, cache, components, disks, stores } = await crashed(2);
    buried(disks);
    cache.fault = () => {
      throw new Failure('unreachable', 'it is asked again');
    };
    const done = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.equal(done.complete, true);
    assert.equal(done.point?.id, ID);
    assert.deepEqual(Object.keys(done.point?.components ?? {}), ['cache', 'db']);
    for (const [at, on] of disks.entries()) {
      const verified = await verifyPoints(ctx, { in: named(`s${at}`, on), readData: 1 });
      assert.equal(verified.findings.verdict, 'pass');
      assert.deepEqual([...on.records.keys()], ['coverage/read-data']);
    }
  });

  test('nothing is taken over from a process that may be alive, or that was to hold something else', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    const alive = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.deepEqual([alive.point, alive.holder], [null, { id: ID, state: 'running' }]);
    await assert.rejects(backUp(ctx, request({ components, stores, resume: ID })), (error) =>
      isFailure(error, 'locked'),
    );
    buried(disks);
    for (const other of [{ components: components.slice(1) }, { plan: 'weekly' }, { stack: 'other' }]) {
      const done = await backUp(ctx, request({ components, stores, slot: SLOT, ...other }));
      assert.notEqual(done.point?.id, ID);
    }
    const fewer = request({ components: components.slice(1), stores, resume: ID });
    await assert.rejects(backUp(ctx, fewer), (error) => isFailure(error, 'usage'));
  });

  test('the next run tells how to go on with it, and does not do so by itself', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    buried(disks);
    const next = await backUp(ctx, request({ components, stores }));
    assert.notEqual(next.point?.id, ID);
    assert.match(next.warnings.join(), /left one finished component: the same command with --resume 2026-11-21-020000/);
    const resumed = await backUp(ctx, request({ components, stores, resume: ID }));
    assert.deepEqual([resumed.point?.id, resumed.complete], [ID, true]);
  });

  test('a late run that is gone on with was begun when it was begun, not at the slot that it is named after', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    buried(disks);
    const note = disks[0]?.records.get(`captures/${ID}`) as { noted_at: string };
    note.noted_at = '2026-11-21T09:00:00.000Z';
    const resumed = await backUp(ctx, request({ components, stores, resume: ID }));
    assert.deepEqual([resumed.point?.id, resumed.point?.startedAt], [ID, note.noted_at]);
  });

  test('what was finished in one store only is captured again', async () => {
    const { ctx, cache, components, disks, stores } = await crashed(2);
    buried(disks);
    disks[1]?.records.delete(`captures/${ID}/cache`);
    cache.data.set('c', 'newer');
    const done = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.equal(done.point?.id, ID);
    for (const on of disks) {
      assert.equal(on.points.get(ID)?.components.get('cache')?.get('keys/c')?.data.toString(), 'newer');
    }
  });

  test('there is nothing to go on with where no draft is left', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    buried(disks);
    disks[0]?.drafts.clear();
    const again = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.deepEqual([again.point?.id, again.complete], [ID, true]);
    const gone = backUp(ctx, request({ components, stores, resume: '2026-01-01-000000' }));
    await assert.rejects(gone, (error) => isFailure(error, 'missing'));
  });
});
