import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testContext } from '../core/testing.ts';
import { backUp } from '../engine/backup.ts';
import { listPoints } from '../engine/points.ts';
import { restorePoint } from '../engine/restore.ts';
import { planRestore } from '../engine/restore-plan.ts';
import { KINDS, made, opened } from '../engine/stores.suite.ts';
import { kv, kvServer } from '../engine/testing.ts';
import { change, loggedDriver, loggedServer, second, ship } from '../engine/testing-log.ts';
import { momentEverywhere, momentWords, wantedMoment } from './moments.ts';
import { planText, restoredJson, restoredText } from './restore-views.ts';
import { joinedOf, joinedText, momentsJson, momentsOf, momentsText } from './windows.ts';

const STACK = 'shop';

/** db is followed from second 0 to 9000 with a gap; files is not, and has a point of second 10. */
async function followed() {
  const ctx = testContext({ now: () => second(9004) });
  const stores = [];
  for (const name of ['one', 'two']) {
    const [kind] = KINDS;
    if (!kind) throw new Error('there is no kind of store');
    stores.push(await opened(ctx, kind, await made(ctx, kind), name));
  }
  const [one, two] = stores;
  assert.ok(one && two);
  const [db, files] = [loggedServer(), { ...kvServer({ f: '1' }), cutAt: second(10).toISOString() }];
  const components = [kv('db', db, { driver: loggedDriver }), kv('files', files)];
  change(db, 10, 'a', '1');
  const first = await backUp(ctx, { stack: STACK, plan: 'p', components, stores });
  change(db, 3720, 'a', '2');
  const next = await backUp(ctx, { stack: STACK, plan: 'p', components: components.slice(0, 1), stores });
  change(db, 8000, 'a', '3');
  db.log.sort((a, b) => a.at - b.at);
  await ship(ctx, two, 'db', db, [3600, -3700, 9000]);
  const listing = {
    stores: await Promise.all(stores.map(async (store) => ({ store, views: await listPoints(ctx, store) }))),
    unreadable: [],
  };
  const ids = [first, next].map(({ point }) => point?.id ?? '');
  return { ctx, db, files, components, listing, ids, one, two };
}

test('windows are told per component, store and stack, with gaps and how well the clock is known', async () => {
  const { ctx, listing, ids } = await followed();
  const { moments } = await momentsOf(ctx, listing, STACK, ['db', 'files']);
  const text = momentsText(moments, ctx.now()).join('\n');
  const db = '2026-01-01 00:00:10 … now − 4.0 s, gap 2026-01-01 01:00:00–01:02:00 (the slot was lost)';
  assert.match(text, new RegExp(`^db +two +${db.replaceAll(/[()]/g, '\\$&')} +± 3 ms$`, 'm'));
  assert.match(text, /^files +two +1 point alone, the newest of 2026-01-01 00:00:10$/m);
  const all = '2026-01-01 00:00:10 … now − 1 h 30 min, 2026-01-01 01:02:00 … now − 4.0 s';
  assert.match(text, /^all of these +two +.*files from the nearest point before$/m);
  assert.match(text, new RegExp(all));
  assert.doesNotMatch(text, /\bone\b/, 'a store without a log has its points alone');
  const joined = joinedOf(moments, ids[0] ?? '');
  assert.equal(joinedText(joined.get('db'), ctx.now()), 'joined, to now − 1 h 30 min');
  assert.equal(joinedText(joined.get('files'), ctx.now()), '');
  const json = JSON.parse(JSON.stringify(momentsJson(moments)));
  const [told] = json.recoverable.filter((each: { component: string; store: string }) => each.store === 'two');
  assert.deepEqual(told.windows[1], {
    from: second(3720).toISOString(),
    to: second(9000).toISOString(),
    points: [ids[1]],
    ranges: 1,
    clock: { ahead_ms: 0, error_ms: 3 },
    source: {
      from: { position: '003720', at: second(3720).toISOString() },
      to: { position: '009000', at: second(9000).toISOString() },
    },
  });
  assert.deepEqual(told.gaps, [
    { from: second(3600).toISOString(), to: second(3720).toISOString(), reasons: ['the slot was lost'] },
  ]);
});

test('a restore to a moment is from the store that comes nearest, and says how near each component comes', async () => {
  const { ctx, listing, components, db, files, ids, two } = await followed();
  const wish = { stack: STACK, components: ['db', 'files'], named: false };
  const words = { point: undefined, at: '2026-01-01T02:14:03Z', until: undefined };
  const wanted = wantedMoment(ctx, listing, words, wish);
  assert.ok(wanted);
  const { store, moment, point } = await momentEverywhere(ctx, listing, wish, wanted);
  assert.deepEqual([store.name, point.id], ['two', ids[1]]);
  assert.equal(momentWords(wanted, store), '--at 2026-01-01T02:14:03.000Z --store two');
  for (const { data } of [db, files]) data.clear();
  const request = { from: two, point, moment, components };
  const plan = await planRestore(ctx, request);
  const preview = planText(plan, store.name);
  assert.match(preview, /^as of 2026-01-01T02:14:03.000Z from store two/m);
  assert.match(preview, new RegExp(`^db: exact ± 3 ms: point ${ids[1]} and its log up to then$`, 'm'));
  assert.match(preview, new RegExp(`^files: point ${ids[0]}, 2 h 13 min before$`, 'm'));
  const restored = await restorePoint(ctx, request, plan);
  const told = restoredText(restored, {}, undefined);
  assert.match(told, /^db: exact, last change 2026-01-01T02:13:20.000Z ± 3 ms, 43.0 s before$/m);
  assert.match(told, /^db +back, log replayed/m);
  const json = JSON.parse(JSON.stringify(restoredJson(restored, { store, unreadable: [] })));
  assert.equal(json.moment, '2026-01-01T02:14:03.000Z');
  assert.deepEqual(json.components[0].reached, { position: '008000', at: second(8000).toISOString() });
  assert.deepEqual(json.components[1].origin, {
    ...{ point: ids[0], target: null, against: null, log_end: null, before_ms: 8033000, fork_at: null, clock: null },
  });
});

test('all that is there is restored from the store that has the most of it', async () => {
  const { ctx, listing } = await followed();
  const wish = { stack: STACK, components: ['db', 'files'], named: false };
  const wanted = wantedMoment(ctx, listing, { point: 'latest', at: undefined, until: 'latest' }, wish);
  assert.ok(wanted);
  const { store, moment } = await momentEverywhere(ctx, listing, wish, wanted);
  assert.deepEqual([store.name, moment.wanted], ['two', 'latest']);
  assert.equal(momentWords(wanted, store), 'latest --until latest --store two');
});

test('words of one component are for one component, and a time is for no point', async () => {
  const { ctx, listing, ids } = await followed();
  const wish = { stack: STACK, components: ['db', 'files'], named: false };
  const words = { point: undefined, at: undefined, until: undefined };
  assert.equal(wantedMoment(ctx, listing, { ...words, point: 'latest' }, wish), undefined, 'a point is a point');
  const bad = [
    { ...words, until: 'lsn=0/1' },
    { ...words, at: 'now', until: 'latest' },
    { ...words, at: 'now', point: 'latest' },
    { ...words, point: ids[0], until: 'cut=latest' },
  ];
  for (const each of bad) assert.throws(() => wantedMoment(ctx, listing, each, wish), { code: 'usage' });
  const until = wantedMoment(
    ctx,
    listing,
    { ...words, point: ids[0], until: 'offset=8' },
    { ...wish, components: ['db'] },
  );
  assert.deepEqual(until, { until: { kind: 'position', value: '8' }, words: 'offset=8', base: ids[0] });
  const cut = wantedMoment(ctx, listing, { ...words, point: 'latest', until: `cut=${ids[0]}` }, wish);
  const [on] = listing.stores;
  assert.ok(cut && on);
  assert.deepEqual(cut, { cutOf: ids[0], words: `cut=${ids[0]}` });
  assert.equal(momentWords(cut, on.store), `latest --until cut=${ids[0]} --store ${on.store.name}`);
});
