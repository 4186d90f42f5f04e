import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isFailure } from '../core/errors.ts';
import { idOf, timeOfId } from '../core/manifest.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import { captured } from '../core/testing.ts';
import { decide, type KeepRules } from './keep.ts';
import type { PointView } from './points.ts';
import { provedAt } from './proofs.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START = Date.parse('2026-03-01T02:00:00Z');

const FAILED = captured({ error: { code: 'unreachable', message: 'no answer' } });

interface Shape {
  readonly plan?: string | null;
  /** What a drill has proved of it: all that it holds, one component, or nothing. */
  readonly proved?: boolean | 'db' | 'cache';
  readonly components?: Readonly<Record<string, CapturedComponent>>;
}

function view(
  atMs: number,
  { plan = 'nightly', proved = false, components = { db: captured() } }: Shape = {},
): PointView {
  const id = idOf(new Date(atMs));
  const complete = Object.values(components).every(({ error }) => error === null);
  const point: RecoveryPoint = {
    format: 1,
    id,
    stack: 'shop',
    plan,
    startedAt: new Date(atMs).toISOString(),
    finishedAt: '',
    skewMs: 0,
    status: complete ? 'complete' : 'partial',
    version: null,
    missed: null,
    components,
  };
  const held = Object.keys(components).filter((name) => components[name]?.error === null);
  const names = proved === true ? held : held.filter((name) => name === proved);
  const proofs =
    names.length > 0
      ? [{ format: 1 as const, point: id, how: 'drill' as const, at: '2026-01-01', components: names, source: null }]
      : [];
  return { point, proofs, unreadableProofs: false, provedAt: provedAt(point, proofs), copyOfProved: false };
}

/** Of a scheduled run that came late: named after its slot, begun later. */
function late(atMs: number, begunMs: number, shape: Shape = {}): PointView {
  const made = view(atMs, shape);
  return { ...made, point: { ...made.point, startedAt: new Date(begunMs).toISOString() } };
}

function daily(days: number, shape: Shape = {}): PointView[] {
  return Array.from({ length: days }, (_, day) => view(START + day * DAY_MS, shape));
}

function kept(views: readonly PointView[], keep: KeepRules, timezone = 'UTC', nowMs = START + 1000 * DAY_MS): string[] {
  const decisions = decide(views, () => ({ keep, timezone }), new Date(nowMs));
  return decisions.filter(({ reasons }) => reasons.length > 0).map(({ point }) => point.id);
}

describe('what is kept', () => {
  test('the newest of each period, as many periods as the rule says', () => {
    const views = Array.from({ length: 60 }, (_, at) => view(START + at * 12 * HOUR_MS));
    assert.deepEqual(kept(views, { last: 2 }).length, 2);
    assert.deepEqual(kept(views, { daily: 3 }), ['2026-03-28-140000', '2026-03-29-140000', '2026-03-30-140000']);
    assert.deepEqual(kept(views, { weekly: 2 }), ['2026-03-29-140000', '2026-03-30-140000']);
    assert.deepEqual(kept(views, { monthly: 5, yearly: 2 }), ['2026-03-30-140000']);
    assert.deepEqual(kept(views, { within: 36 * HOUR_MS }).length, 4);
    assert.deepEqual(kept(views, { hourly: 3 }).length, 3);
  });

  test('days are those of the time zone, and an hour that daylight saving repeats counts twice', () => {
    const late = view(Date.parse('2026-07-01T23:30:00Z')); // already the 2nd in Berlin
    const next = view(Date.parse('2026-07-02T20:00:00Z'));
    assert.deepEqual(kept([late, next], { daily: 5 }, 'UTC'), [late.point.id, next.point.id]);
    assert.deepEqual(kept([late, next], { daily: 5 }, 'Europe/Berlin'), [next.point.id]);
    const first = view(Date.parse('2026-10-25T00:30:00Z'));
    const second = view(Date.parse('2026-10-25T01:30:00Z'));
    assert.deepEqual(kept([first, second], { hourly: 5 }, 'Europe/Berlin').length, 2);
    assert.throws(
      () => kept([first], { daily: 1 }, 'Mars/Olympus'),
      (error) => isFailure(error, 'settings-invalid'),
    );
  });

  test('weeks are those of ISO 8601, also around the turn of the year', () => {
    const [thursday, friday] = [view(Date.parse('2026-12-31T12:00:00Z')), view(Date.parse('2027-01-01T12:00:00Z'))];
    assert.deepEqual(kept([thursday, friday], { weekly: 9 }), [friday.point.id]);
    assert.equal(kept([thursday, friday], { yearly: 9 }).length, 2);
  });

  test('a partial point takes no complete one’s place', () => {
    const [monday, tuesday, wednesday] = [START, START + DAY_MS, START + 2 * DAY_MS];
    const partial = { components: { db: captured(), cache: FAILED } };
    const views = [view(monday), view(tuesday, partial), view(tuesday + HOUR_MS, partial), view(wednesday)];
    assert.deepEqual(
      kept(views, { daily: 2 }),
      [monday, tuesday + HOUR_MS, wednesday].map((at) => idOf(new Date(at))),
    );
    const worse = [view(tuesday), view(tuesday + HOUR_MS, partial)];
    assert.deepEqual(kept(worse, { daily: 1 })[0], idOf(new Date(tuesday)));
  });

  test('nothing grows too old while no new point comes', () => {
    const views = daily(10);
    const [soon, late] = [START + 10 * DAY_MS, START + 400 * DAY_MS];
    assert.deepEqual(
      kept(views, { within: 3 * DAY_MS }, 'UTC', late),
      kept(views, { within: 3 * DAY_MS }, 'UTC', soon),
    );
  });

  test('a point of the cache never stands for one of everything', () => {
    const night = view(START, { components: { db: captured(), cache: captured() } });
    const hours = [4, 8, 12].map((hour) =>
      view(START + hour * HOUR_MS, { plan: 'redis', components: { cache: captured() } }),
    );
    assert.ok(kept([night, ...hours], { daily: 1, last: 1 }).includes(night.point.id));
  });

  test('without a rule everything stays', () => {
    const decisions = decide(daily(5), () => null, new Date(START + 9 * DAY_MS));
    assert.equal(decisions.filter(({ reasons }) => reasons.includes('no rule')).length, 5);
  });
});

describe('no rule removes', () => {
  test('what latest and latest-proved mean, also when it came late and is named after an earlier slot', () => {
    const components = { db: captured(), cache: captured() };
    const came = late(START, START + 9 * HOUR_MS, { components, proved: true });
    const before = view(START + 8 * HOUR_MS, { components, proved: true });
    assert.ok(kept([came, before], { last: 1 }).includes(came.point.id));
    // Each component has been proved since, but never both of one point.
    const halves = (['db', 'cache'] as const).map((proved, day) => {
      return view(START + (day + 1) * DAY_MS, { components, proved });
    });
    assert.ok(kept([came, before, ...halves], { last: 1 }).includes(came.point.id));
  });

  test('the newest point that a drill or a restore has proved', () => {
    const [first = view(START), ...rest] = daily(30);
    const proved = view(timeOfId(first.point.id).getTime(), { proved: true });
    assert.deepEqual(kept([proved, ...rest], { last: 1 }), [proved.point.id, rest.at(-1)?.point.id]);
  });

  test('the newest point that holds a component whose captures have failed since (fault 36)', () => {
    const good = view(START, { components: { db: captured(), cache: captured() } });
    const failing = daily(31, { components: { db: FAILED, cache: captured() } }).slice(1);
    assert.ok(kept([good, ...failing], { within: 5 * DAY_MS }).includes(good.point.id));
  });

  test('the newest point that holds a component which the newer ones do not even name', () => {
    const good = view(START, { components: { db: captured(), cache: FAILED } });
    const newer = daily(31, { components: { cache: captured() } }).slice(1);
    assert.ok(kept([good, ...newer], { within: 5 * DAY_MS }).includes(good.point.id));
  });

  test('the newest point proved as a whole, when single components of newer ones were proved since', () => {
    const both = { db: captured(), cache: captured() };
    const days = (day: number, proved: Shape['proved']) =>
      view(START + day * DAY_MS, { components: both, ...(proved === undefined ? {} : { proved }) });
    const whole = days(0, true);
    assert.ok(kept([whole, days(1, 'db'), days(2, 'cache'), days(3, false)], { last: 1 }).includes(whole.point.id));
    const partial = view(START, { components: { db: captured(), cache: FAILED }, proved: true });
    assert.ok(kept([partial, days(1, 'db'), days(2, false)], { last: 1 }).includes(partial.point.id));
  });

  test('the newest point taken without a warning, when every one since had some', () => {
    const clean = view(START);
    const warned = daily(31, { components: { db: captured({ warnings: ['page 7 is damaged'] }) } }).slice(1);
    assert.ok(kept([clean, ...warned], { last: 3 }).includes(clean.point.id));
  });

  test('a point whose proofs can not be read', () => {
    const views = daily(9);
    const doubtful = { ...view(START), unreadableProofs: true };
    assert.ok(kept([doubtful, ...views.slice(1)], { last: 1 }).includes(doubtful.point.id));
  });

  test('a proof of a copy, or of another component, protects nothing', () => {
    const [copied, ...rest] = daily(9);
    assert.ok(copied);
    const proof = { format: 1 as const, point: copied.point.id, at: '', components: ['db'], source: null };
    const views = [{ ...copied, proofs: [{ ...proof, how: 'copy' as const }] }, ...rest];
    assert.ok(!kept(views, { last: 1 }).includes(copied.point.id));
  });
});

const rules = fc.record(
  {
    last: fc.integer({ min: 1, max: 5 }),
    hourly: fc.integer({ min: 1, max: 5 }),
    daily: fc.integer({ min: 1, max: 5 }),
    weekly: fc.integer({ min: 1, max: 5 }),
    monthly: fc.integer({ min: 1, max: 5 }),
    yearly: fc.integer({ min: 1, max: 5 }),
    within: fc.integer({ min: 0, max: 90 * DAY_MS }),
  },
  { requiredKeys: [] },
);
const shapes = fc.record({
  plan: fc.constantFrom('nightly', 'redis', null),
  proved: fc.constantFrom(false, true, 'db' as const, 'cache' as const),
  components: fc.constantFrom(
    { db: captured(), cache: captured() },
    { db: captured(), cache: FAILED },
    { db: FAILED, cache: captured() },
    { cache: captured({ warnings: ['slow'] }) },
  ),
});
const histories = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 400 * 24 * 60 }), shapes), {
    selector: ([minute]) => minute,
    maxLength: 40,
  })
  .map((entries) => entries.map(([minute, shape]) => view(START + minute * 60_000, shape)));
const zones = fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kathmandu');

describe('whatever the history and the rules', () => {
  test('the newest, the newest proved and the newest of each component stay, and never is nothing left', () => {
    fc.assert(
      fc.property(histories, rules, zones, (views, keep, zone) => {
        const ids = new Set(kept(views, keep, zone));
        const sorted = views.toSorted((a, b) => (a.point.id < b.point.id ? -1 : 1));
        const proved = sorted.filter((each) => each.provedAt !== null);
        const must = [sorted.at(-1), proved.at(-1), proved.findLast(({ point }) => point.status === 'complete')];
        for (const name of ['db', 'cache']) {
          must.push(sorted.findLast(({ point }) => point.components[name]?.error === null));
          must.push(sorted.findLast(({ proofs }) => proofs.some(({ components }) => components.includes(name))));
        }
        for (const each of must) if (each) assert.ok(ids.has(each.point.id), each.point.id);
        assert.equal(ids.size === 0, views.length === 0);
      }),
    );
  });

  test('pruning again removes nothing more', () => {
    fc.assert(
      fc.property(histories, rules, zones, (views, keep, zone) => {
        const once = kept(views, keep, zone);
        const left = views.filter(({ point }) => once.includes(point.id));
        assert.deepEqual(kept(left, keep, zone), once);
      }),
    );
  });

  test('a further rule, or a larger one, never removes more', () => {
    fc.assert(
      fc.property(histories, rules, rules, zones, (views, keep, more, zone) => {
        const larger: Record<string, number> = { ...keep };
        for (const [name, amount] of Object.entries(more)) larger[name] = Math.max(amount, larger[name] ?? 0);
        const ids = new Set(kept(views, larger, zone));
        for (const id of kept(views, keep, zone)) assert.ok(ids.has(id), id);
      }),
    );
  });
});
