import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RecoveryPoint } from '../core/point.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import type { NamedStore } from './model.ts';
import { KINDS, made, opened } from './stores.suite.ts';
import { kv, kvServer } from './testing.ts';
import { change, type LoggedServer, loggedDriver, loggedServer, second, ship, startOf } from './testing-log.ts';
import { aheadOf, type Recoverable, recoverable, recoverables, stackMoments } from './windows.ts';

const ctx = testContext();

async function store(): Promise<NamedStore & AsyncDisposable> {
  const [kind] = KINDS;
  if (!kind) throw new Error('there is no kind of store');
  return await opened(ctx, kind, await made(ctx, kind));
}

/** A point of the service as it is at that second. */
async function pointAt(on: NamedStore, server: LoggedServer, at: number, name = 'db', plan = 'p'): Promise<string> {
  change(server, at, 'point', String(at));
  const components = [kv(name, server, { driver: loggedDriver })];
  const { point } = await backUp(ctx, { stack: 'shop', plan, components, stores: [on] });
  assert.ok(point);
  return point.id;
}
async function look(on: NamedStore, component = 'db'): Promise<Recoverable> {
  return await recoverable(ctx, on.store, component, await pointsIn(on));
}
async function pointsIn({ store: each }: NamedStore): Promise<readonly RecoveryPoint[]> {
  return await Array.fromAsync(each.list(ctx));
}

/** 'from-to' in seconds of our clock. */
function spans({ windows }: Pick<Recoverable, 'windows'>): string[] {
  return windows.map(({ from, to }) => `${secondsOf(from.ms)}-${secondsOf(to.ms)}`);
}
function gaps({ gaps: all }: Recoverable): string[] {
  return all.map(({ fromMs, toMs, reasons }) => {
    return `${secondsOf(fromMs)}-${toMs === null ? '' : secondsOf(toMs)}: ${reasons.join('; ')}`;
  });
}
function secondsOf(ms: number): number {
  return (ms - second(0).getTime()) / 1000;
}

test('a window runs from the first point that joins the log to where that ends, by our clock', async () => {
  await using on = await store();
  const server = loggedServer(3_600_000); // its clock is an hour ahead
  const [a, b] = [await pointAt(on, server, 10), await pointAt(on, server, 40)];
  await ship(ctx, on, 'db', server, [30, 60]);
  const found = await look(on);
  assert.deepEqual([spans(found), gaps(found)], [['10-60'], []]);
  const [window] = found.windows;
  assert.deepEqual([window?.bases, window?.ranges], [[a, b], 2]);
  assert.deepEqual(window?.to.clock, { aheadMs: 3_600_000, errorMs: 3 });
  assert.equal(window?.to.cut.at, second(3660).toISOString(), 'by its own clock');
  assert.equal(secondsOf(found.end?.edge.ms ?? 0), 60);
});

test('points that join no log are moments, and windows begin at none of them', async () => {
  await using on = await store();
  const server = loggedServer();
  server.source = { log: 'another' };
  const other = await pointAt(on, server, 5);
  server.source = { log: 'one' };
  await ship(ctx, on, 'db', server, [20]);
  const alone = await look(on);
  assert.deepEqual([spans(alone), gaps(alone)], [[], ['0-: no point joins the log']]);
  assert.deepEqual(
    alone.points.map(({ point }) => point.id),
    [other],
  );
  const late = await pointAt(on, server, 30); // behind the end of the log
  assert.deepEqual(spans(await look(on)), []);
  await ship(ctx, on, 'db', server, [50]);
  const found = await look(on);
  assert.deepEqual([spans(found), found.windows[0]?.bases], [['30-50'], [late]]);
});

test('fault 25: a gap ends a window, with its reason, and the next one begins at the next point', async () => {
  await using on = await store();
  const server = loggedServer();
  await pointAt(on, server, 10);
  await ship(ctx, on, 'db', server, [30, -40, 60]);
  const broken = await look(on);
  assert.deepEqual([spans(broken), gaps(broken)], [['10-30'], ['30-: the slot was lost']]);
  await pointAt(on, server, 45);
  const found = await look(on);
  assert.deepEqual([spans(found), gaps(found)], [['10-30', '45-60'], ['30-45: the slot was lost']]);
});

test('why another log began is the reason of the gap before its first point', async () => {
  await using on = await store();
  const server = loggedServer();
  await pointAt(on, server, 10);
  await ship(ctx, on, 'db', server, [30]);
  server.source = { log: 'two' };
  await pointAt(on, server, 45);
  await ship(ctx, on, 'db', server, [60], startOf(server, 45, { why: 'the server has another log' }));
  const found = await look(on);
  assert.deepEqual([spans(found), gaps(found)], [['10-30', '45-60'], ['30-45: the server has another log']]);
});

test('a lineage that goes on from another one is one window with it, and a fork is told', async () => {
  await using on = await store();
  const server = loggedServer();
  await pointAt(on, server, 10);
  await ship(ctx, on, 'db', server, [30]);
  const [lineage] = await Array.fromAsync(on.store.journal('db').lineages(ctx));
  assert.ok(lineage);
  server.source = { log: 'two' };
  const at = (position: number) => ({ parent: { lineage: lineage.id, position: String(position).padStart(6, '0') } });
  await ship(ctx, on, 'db', server, [50], startOf(server, 30, { why: 'failover', ...at(30) }));
  const found = await look(on);
  assert.deepEqual([spans(found), gaps(found), found.forks], [['10-50'], [], []]);
  await ship(ctx, on, 'db', server, [70], startOf(server, 20, { why: 'a clone', ...at(20) }));
  const forked = await look(on);
  assert.deepEqual(spans(forked), ['10-70']);
  assert.deepEqual(
    forked.forks.map(({ ms, lineages }) => [secondsOf(ms), lineages]),
    [[20, ['00000001', '00000003']]],
  );
});

test('what a restore took of what it replaced is no moment that is offered', async () => {
  await using on = await store();
  const server = loggedServer();
  await ship(ctx, on, 'db', server, [5]);
  await pointAt(on, server, 3, 'db', 'safety');
  assert.deepEqual([spans(await look(on)), (await look(on)).points], [[], []]);
});

test('a point with a name that no journal could have is a point, and no more', async () => {
  await using on = await store();
  await pointAt(on, loggedServer(), 10);
  const [point] = await pointsIn(on);
  assert.ok(point?.components.db);
  const hostile = { ...point, components: { '../../etc': point.components.db } };
  const [found, ...others] = await recoverables(ctx, on.store, [hostile]);
  assert.deepEqual([found?.component, found?.followed, found?.points.length, others], ['../../etc', false, 1, []]);
});

test('the stack can be brought to the moments that all of its components have', async () => {
  await using on = await store();
  const [db, cache] = [loggedServer(), loggedServer()];
  change(db, 10, 'a', '1');
  change(cache, 12, 'b', '1');
  const files = kvServer({ c: '1' });
  files.cutAt = second(15).toISOString();
  const components = [
    kv('db', db, { driver: loggedDriver }),
    kv('cache', cache, { driver: loggedDriver }),
    kv('files', files),
  ];
  await backUp(ctx, { stack: 'shop', plan: 'p', components, stores: [on] });
  const moments = async () => stackMoments(await recoverables(ctx, on.store, await pointsIn(on)));
  assert.deepEqual(await moments(), { spans: [], byPoints: ['cache', 'db', 'files'], without: [] });
  await ship(ctx, on, 'db', db, [100]);
  await ship(ctx, on, 'cache', cache, [40, -50, 90]);
  await pointAt(on, cache, 60, 'cache');
  await ship(ctx, on, 'new', loggedServer(), [10]);
  const { spans: all, byPoints, without } = await moments();
  assert.deepEqual(
    all.map(({ fromMs, toMs }) => [fromMs, toMs].map(secondsOf)),
    [
      [15, 40],
      [60, 90],
    ],
  );
  assert.deepEqual([byPoints, without], [['files'], ['new']]);
});

test('a clock that may be right is taken for right', () => {
  assert.equal(aheadOf({ aheadMs: -130, errorMs: 150 }), 0);
  assert.equal(aheadOf({ aheadMs: -130.4, errorMs: 20 }), -130);
  assert.equal(aheadOf(null), 0);
});
