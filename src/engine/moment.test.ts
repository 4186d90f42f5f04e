import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ReplayTarget } from '../core/component.ts';
import { isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { drillPoint } from './drill.ts';
import { evidenceMarkdown } from './evidence.ts';
import type { StackComponent } from './model.ts';
import { type Moment, momentOf, type Wanted } from './moment.ts';
import { proofsOf } from './proofs.ts';
import { type RestoredPoint, restorePoint } from './restore.ts';
import { DATED, made, opened } from './stores.suite.ts';
import { type KvServer, kv, kvSandboxes, kvServer } from './testing.ts';
import { change, type LoggedServer, loggedDriver, loggedServer, second, ship, startOf } from './testing-log.ts';

const HOUR_MS = 3_600_000;

/** db is followed and its clock is an hour ahead; files has points alone. Their points are of seconds 10 and 40. */
async function stack() {
  const ctx = testContext({ now: () => second(100_000) });
  const on = await opened(ctx, DATED, await made(ctx, DATED));
  const [db, files] = [loggedServer(HOUR_MS), kvServer()];
  const checks = [{ name: 'keys', sql: 'count', min: 1 }];
  const components: StackComponent[] = [
    kv('db', db, { driver: loggedDriver, checks }),
    kv('files', files, { restoreAfter: ['db'] }),
  ];
  const ids: string[] = [];
  for (const at of [10, 40]) {
    change(db, at, 'point', String(at));
    files.data.set('point', String(at));
    files.cutAt = second(at).toISOString();
    const { point } = await backUp(ctx, { stack: 'shop', plan: 'p', components, stores: [on] });
    ids.push(point?.id ?? '');
  }
  for (const at of [15, 20, 30, 44, 55]) change(db, at, 'last', String(at));
  db.log.sort((a, b) => a.at - b.at);
  await ship(ctx, on, 'db', db, [25, 60]);
  const points = await Array.fromAsync(on.store.list(ctx));
  const [names, named] = [['db', 'files'], false];
  const moment = (wanted: Wanted, only?: string[]): Promise<Moment> =>
    momentOf(ctx, { from: on, points, components: only ?? names, named: only !== undefined || named }, wanted);
  const restore = async (wanted: Wanted): Promise<RestoredPoint> => {
    for (const { data } of [db, files]) data.clear();
    const [, point] = points;
    assert.ok(point);
    return await restorePoint(ctx, { from: on, point, moment: await moment(wanted), components });
  };
  return {
    ctx,
    on,
    db,
    files,
    components,
    points,
    ids,
    moment,
    restore,
    [Symbol.asyncDispose]: on[Symbol.asyncDispose],
  };
}

function at(seconds: number): Wanted {
  return { at: second(seconds) };
}
function until(target: Exclude<ReplayTarget, { kind: 'time' }>, base: string | null = null): Wanted {
  return { until: target, words: target.kind, base };
}
function held({ data }: KvServer): object {
  return Object.fromEntries(data);
}

describe('a restore to a moment', () => {
  test('takes each component from a point of its own, and replays the log of those that have one', async () => {
    await using it = await stack();
    const { outcomes, moment, complete, verdict } = await it.restore(at(32));
    assert.deepEqual([held(it.db), held(it.files)], [{ point: '10', last: '30' }, { point: '10' }]);
    assert.equal(moment?.wanted, second(32).toISOString());
    const [db, files] = outcomes;
    assert.equal(db?.step.origin.point.id, it.ids[0]);
    assert.equal(db?.reached?.at, second(30 + 3600).toISOString(), 'the last change, by its own clock');
    assert.deepEqual(db?.step.origin.aim, {
      at: second(32).toISOString(),
      beforeMs: null,
      clock: { aheadMs: HOUR_MS, errorMs: 3 },
      forkMs: null,
    });
    assert.deepEqual([files?.reached, files?.step.origin.aim?.beforeMs], [null, 22_000]);
    assert.deepEqual([complete, verdict], [true, 'unknown'], 'nobody counted what was there then');
  });

  test('begins with the newest point before it', async () => {
    await using it = await stack();
    const { outcomes } = await it.restore(at(50));
    assert.deepEqual([held(it.db), held(it.files)], [{ point: '40', last: '44' }, { point: '40' }]);
    assert.deepEqual(
      outcomes.map(({ step }) => step.origin.point.id),
      [it.ids[1], it.ids[1]],
    );
  });

  test('says that nothing was compared where a log was replayed, and proves only what was', async () => {
    await using it = await stack();
    const { outcomes, proved } = await it.restore(at(32));
    const [db, files] = outcomes.map(({ findings }) => findings);
    assert.match(db?.kept[0]?.detail ?? '', /counted what was there at its cut, and the log was replayed beyond that/);
    assert.deepEqual([db?.tally, db?.uncompared], [{ pass: 1, unknown: 1, fail: 0 }, 1], 'its check was asked');
    assert.deepEqual([files?.verdict, proved], ['pass', ['files']]);
    const proofs = await proofsOf(it.ctx, it.on.store);
    assert.deepEqual(
      [...proofs].map(([point, { read }]) => [point, read[0]?.components]),
      [[it.ids[0], ['files']]],
    );
  });

  test('fails where a check does', async () => {
    await using it = await stack();
    const [db] = it.components;
    assert.ok(db);
    it.components[0] = { ...db, checks: [{ name: 'keys', sql: 'count', min: 3 }] };
    const { complete, verdict } = await it.restore(at(32));
    assert.deepEqual([complete, verdict], [false, 'fail']);
  });

  test('is not complete where a point alone could not be compared', async () => {
    await using it = await stack();
    for (const { components } of it.points) {
      if (components.files) Object.assign(components.files, { inventoryLevel: null });
    }
    const { outcomes, complete } = await it.restore(at(32));
    assert.deepEqual([outcomes.map(({ verdict }) => verdict), complete], [['unknown', 'unknown'], false]);
  });

  test('waits for what comes before it, which may come from another point', async () => {
    await using it = await stack();
    it.db.fault = (step) => void (step === 'restore' && it.files.data.set('too', 'early'));
    const { outcomes, complete } = await it.restore(at(32));
    const found = outcomes.map(({ error }) => isFailure(error, 'target-not-empty'));
    assert.deepEqual([found, complete], [[false, true], false]);
  });
});

describe('a log that another one goes on from', () => {
  /** At second 50; what the other one says then is another truth. */
  async function forked(it: Awaited<ReturnType<typeof stack>>): Promise<LoggedServer> {
    const [lineage] = await Array.fromAsync(it.on.store.journal('db').lineages(it.ctx));
    assert.ok(lineage);
    const other = loggedServer(HOUR_MS, { log: 'two' });
    change(other, 58, 'other', 'has it');
    const begin = startOf(other, 50, { why: 'a copy', parent: { lineage: lineage.id, position: '000050' } });
    await ship(it.ctx, it.on, 'db', other, [90], begin);
    return other;
  }

  test('fault 26: is left out where the log of the point itself reaches the moment, and told', async () => {
    await using it = await stack();
    await forked(it);
    const { outcomes } = await it.restore(at(59));
    assert.deepEqual(held(it.db), { point: '40', last: '55' });
    assert.equal(outcomes[0]?.step.origin.aim?.forkMs, second(50).getTime());
    assert.equal((await it.moment(at(49))).origins.get('db')?.aim?.forkMs, null, 'before it there is one log');
  });

  test('is followed where that alone reaches the moment, as after a failover', async () => {
    await using it = await stack();
    await forked(it);
    const { outcomes } = await it.restore(at(80));
    assert.deepEqual(held(it.db), { point: '40', last: '44', other: 'has it' });
    assert.equal(outcomes[0]?.step.origin.aim?.forkMs, null);
  });
});

describe('how far a log is replayed in other words', () => {
  test('the latest is all that is there, and the newest point of what has no log', async () => {
    await using it = await stack();
    await it.restore(until({ kind: 'latest' }));
    assert.deepEqual([held(it.db), held(it.files)], [{ point: '40', last: '55' }, { point: '40' }]);
  });

  test('a position is one in the words of the driver, on the point that was named', async () => {
    await using it = await stack();
    const moment = await it.moment(until({ kind: 'position', value: '15' }, it.ids[0]), ['db']);
    assert.equal(moment.origins.get('db')?.point.id, it.ids[0]);
    it.db.data.clear();
    const [point] = it.points;
    assert.ok(point);
    await restorePoint(it.ctx, { from: it.on, point, moment, only: ['db'], components: it.components });
    assert.deepEqual(held(it.db), { point: '10', last: '15' });
  });

  test('a point that joins no log is refused, and those that do are named', async () => {
    await using it = await stack();
    it.db.source = { log: 'another' };
    const { point } = await backUp(it.ctx, { stack: 'shop', plan: 'p', components: it.components, stores: [it.on] });
    assert.ok(point);
    it.points.push(point);
    await assert.rejects(it.moment(until({ kind: 'position', value: '15' }, point.id), ['db']), {
      code: 'missing',
      message: /no journal of this log reaches/,
    });
    await assert.rejects(it.moment(until({ kind: 'latest' }, it.ids[1]), ['files']), {
      code: 'missing',
      message: /joins no log of files/,
    });
  });
});

describe('a moment that can not be recovered', () => {
  async function refused(it: Awaited<ReturnType<typeof stack>>, seconds: number, only?: string[]): Promise<string> {
    try {
      await it.moment(at(seconds), only);
      return 'it can';
    } catch (error) {
      assert.ok(isFailure(error, 'missing'), String(error));
      return `${error.message}\n${error.hint}`;
    }
  }
  const when = (seconds: number): string => second(seconds).toISOString();

  test('fault 25: in a gap is refused with the nearest moments before and after', async () => {
    await using it = await stack();
    await ship(it.ctx, it.on, 'db', it.db, [-70, 90]);
    assert.match(await refused(it, 65), /after what the store has of its log: the slot was lost/);
    change(it.db, 80, 'point', '80');
    const [db] = it.components;
    assert.ok(db);
    const { point } = await backUp(it.ctx, { stack: 'shop', plan: 'p', components: [db], stores: [it.on] });
    assert.ok(point);
    it.points.push(point);
    const told = await refused(it, 75);
    assert.match(told, /db can not be brought to .*01:15.000Z: it lies in a gap: the slot was lost/);
    assert.ok(told.includes(`the nearest before is ${when(60)}; the nearest after is ${when(80)}`), told);
    await it.moment(at(85));
  });

  test('fault 27: before the first, after the last, or in the future is refused with the earliest and latest', async () => {
    await using it = await stack();
    const ends = `the first of all is ${when(10)}, the last ${when(60)}`;
    for (const [seconds, why] of [
      [5, 'nothing is as old'],
      [61, 'it lies after what the store has of its log'],
      [100_001, 'it lies in the future'],
    ] as const) {
      const told = await refused(it, seconds, ['db']);
      assert.ok(told.includes(why) && told.includes(ends), told);
    }
    assert.equal(await refused(it, 10, ['db']), 'it can');
    assert.equal(await refused(it, 60, ['db']), 'it can');
  });

  test('is told in local time, too, where clocks show another one', async () => {
    await using it = await stack();
    const before = process.env.TZ;
    try {
      process.env.TZ = 'Europe/Berlin';
      assert.match(await refused(it, 5, ['db']), /00:00:05.000Z \(2026-01-01T01:00:05\+01:00\)/);
    } finally {
      if (before === undefined) delete process.env.TZ;
      else process.env.TZ = before;
    }
  });

  test('lets what has no point as old be lacking when all was meant, and refuses when it was named', async () => {
    await using it = await stack();
    it.components.push(kv('new', kvServer({ a: '1' })));
    const moment = await it.moment(at(32));
    assert.deepEqual([...moment.lacking], []);
    const withNew = await momentOf(
      it.ctx,
      { from: it.on, points: it.points, components: ['db', 'files', 'new'], named: false },
      at(32),
    );
    assert.deepEqual([...withNew.lacking], [['new', 'there is nothing of new']]);
    assert.match(await refused(it, 32, ['new']), /there is nothing of new/);
  });

  test('is told of all components at once', async () => {
    await using it = await stack();
    const told = await refused(it, 100_001);
    assert.match(
      told,
      /db can not be .*in the future; files can not be .*in the future\ndb: the nearest.*; files: the/,
    );
  });

  test('before a component was followed comes from its points', async () => {
    await using it = await stack();
    const early = { ...loggedServer(), now: 5 } satisfies LoggedServer;
    early.source = { log: 'none' };
    const [first] = it.points;
    assert.ok(first);
    const captured = first.components.db;
    assert.ok(captured?.cut);
    const cut = { ...captured.cut, at: second(5 + 3600).toISOString() };
    const old = { ...first, id: '2025-12-31-000000', components: { db: { ...captured, cut, journal: null } } };
    const moment = await momentOf(
      it.ctx,
      { from: it.on, points: [old, ...it.points], components: ['db'], named: true },
      at(7),
    );
    assert.deepEqual(
      [...moment.origins.values()].map(({ point, aim, replay }) => [point.id, aim?.beforeMs, replay]),
      [['2025-12-31-000000', 2000, null]],
    );
  });
});

test('a drill to a moment tells the points, how far their logs were replayed, and what would be lost', async () => {
  await using it = await stack();
  const [, point] = it.points;
  assert.ok(point);
  // Sandboxes give what they open a bare service.
  const open = (settings: unknown) => loggedDriver.open({ ...loggedServer(HOUR_MS), ...(settings as KvServer) });
  const serverSpec = async () => ({}) as never;
  const components = it.components.map((each) => ({ ...each, driver: { ...each.driver, serverSpec, open } }));
  const { evidence, proved } = await drillPoint(it.ctx, {
    from: it.on,
    point,
    moment: await it.moment(at(32)),
    components,
    sandboxes: kvSandboxes(),
  });
  assert.deepEqual([evidence.verdict, proved, evidence.moment], ['unknown', ['files'], second(32).toISOString()]);
  const [db, files] = evidence.components;
  assert.deepEqual([db?.point, db?.target], [it.ids[0], { kind: 'time', at: second(32 + 3600).toISOString() }]);
  assert.deepEqual([db?.clock, db?.rpo_ms], [{ ahead_ms: HOUR_MS, error_ms: 3 }, (100_000 - 32) * 1000]);
  assert.deepEqual([files?.point, files?.target, files?.rpo_ms], [it.ids[0], null, (100_000 - 10) * 1000]);
  assert.equal(evidence.rpo_ms, (100_000 - 10) * 1000);
  const markdown = evidenceMarkdown(evidence);
  assert.match(markdown, /^Points and their logs up to 2026-01-01T00:00:32.000Z of stack shop/m);
  assert.match(
    markdown,
    /^\| db \| \S+ \| 2026-01-01T01:00:32.000Z ± 3 ms, by its own clock \| 2026-01-01T01:00:30.000Z \|$/m,
  );
  assert.match(markdown, /^\| files \| \S+ \| its cut \| – \|$/m);
});
