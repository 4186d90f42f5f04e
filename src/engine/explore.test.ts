import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component, Exploring, ReplayTarget, Stand } from '../core/component.ts';
import type { Driver } from '../core/driver.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { type Exploration, explore } from './explore.ts';
import { momentOf, type Wanted } from './moment.ts';
import { planRestore } from './restore-plan.ts';
import { KINDS, made, opened } from './stores.suite.ts';
import { kv } from './testing.ts';
import { change, type LoggedServer, loggedDriver, loggedServer, second, ship } from './testing-log.ts';

const HOUR_MS = 3_600_000;

/** Says where it was told to go, and stands there. */
function exploring(component: Component, went: ReplayTarget[], first: ReplayTarget): Component {
  let stand: Stand = { position: '', lastChange: null, writes: null, notes: [] };
  const goTo = (target: ReplayTarget): Stand => {
    went.push(target);
    // By its own clock, which is ahead.
    const lastChange = target.kind === 'position' ? new Date(second(20).getTime() + HOUR_MS).toISOString() : null;
    stand = { ...stand, lastChange };
    return stand;
  };
  const made: Exploring = {
    restored: { bytes: 0, method: 'told', warnings: [] },
    access: () => [],
    stand: async () => stand,
    query: async () => ({ columns: [], rows: [], more: false }),
    advance: async (_, { target }) => goTo(target),
    promote: async () => stand,
    leave: async () => [],
  };
  goTo(first);
  return { ...component, explore: async () => made };
}

/** A log of seconds 10 to 60 whose clock is an hour ahead; with a gap it is broken from 30 to 40. */
async function begun(wanted: Wanted, gap = false) {
  const ctx = testContext({ now: () => second(100_000) });
  const [kind] = KINDS;
  assert.ok(kind);
  const on = await opened(ctx, kind, await made(ctx, kind));
  const db = loggedServer(HOUR_MS);
  const went: ReplayTarget[] = [];
  const first: ReplayTarget = { kind: 'time', at: second(20).toISOString() };
  const open = (settings: unknown): Component => exploring(loggedDriver.open(settings as LoggedServer), went, first);
  const components = [kv('db', db, { driver: { ...loggedDriver, open } satisfies Driver })];
  change(db, 10, 'point', '10');
  await backUp(ctx, { stack: 'shop', plan: 'p', components, stores: [on] });
  for (const at of [15, 20, 30, 55]) change(db, at, 'last', String(at));
  await ship(ctx, on, 'db', db, gap ? [30, -40, 60] : [25, 60]);
  const points = await Array.fromAsync(on.store.list(ctx));
  const [point] = points;
  assert.ok(point);
  const moment = await momentOf(ctx, { from: on, points, components: ['db'], named: true }, wanted);
  const request = { from: on, point, moment, components, to: {} };
  db.data.clear();
  const exploration = await explore(ctx, request, await planRestore(ctx, request));
  went.length = 0;
  return { ctx, exploration, went, [Symbol.asyncDispose]: on[Symbol.asyncDispose] };
}

function bySource(seconds: number): ReplayTarget {
  return { kind: 'time', at: new Date(second(seconds).getTime() + HOUR_MS).toISOString() };
}

describe('exploring', () => {
  const at = (seconds: number): { at: Date } => ({ at: second(seconds) });
  const wantedIn = (exploration: Exploration): string => exploration.wanted();

  test('goes on by so much from what was asked for last, by our clock, whatever the log says', async () => {
    await using on = await begun(at(20));
    await on.exploration.goOn(on.ctx, { byMs: 10_000 });
    await on.exploration.goOn(on.ctx, { byMs: 5_000 });
    assert.deepEqual(on.went, [bySource(30), bySource(35)]);
    assert.equal(wantedIn(on.exploration), second(35).toISOString());
  });

  test('goes on from the last change where it stands at a place of the log', async () => {
    await using on = await begun(at(20));
    const target = { kind: 'position', value: '000020' } as const;
    await on.exploration.goOn(on.ctx, { until: target, words: '000020' });
    assert.equal(wantedIn(on.exploration), '000020');
    await on.exploration.goOn(on.ctx, { byMs: 10_000 });
    assert.deepEqual(on.went, [target, bySource(30)]);
  });

  test('never goes back, and says how an earlier moment is had', async () => {
    await using on = await begun(at(20));
    const back = on.exploration.goOn(on.ctx, at(19));
    await assert.rejects(back, { code: 'usage', message: /it never goes back/, hint: /restore once more/ });
    assert.deepEqual(on.went, []);
    assert.equal(wantedIn(on.exploration), second(20).toISOString());
  });

  test('stands at the end of what is stored where it was to go beyond, and at the last moment before a gap', async () => {
    await using whole = await begun(at(20));
    const { notes } = await whole.exploration.goOn(whole.ctx, { byMs: HOUR_MS });
    assert.match(notes.join(), /nothing is stored of .*: it goes to the end of what is/);
    assert.deepEqual(whole.went, [{ kind: 'latest' }]);
    assert.equal(wantedIn(whole.exploration), second(60).toISOString());
    await using broken = await begun(at(20), true);
    await broken.exploration.goOn(broken.ctx, at(50));
    assert.deepEqual(broken.went, [bySource(30)]);
    assert.equal(await broken.exploration.endMs(broken.ctx), second(30).getTime());
  });
});
