import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesStack, type Told } from './testing.ts';

const HOUR_MS = 3_600_000;
/** Until half past an hour, so that none begins meanwhile. */
const HALF_PAST_MS = HOUR_MS - (Date.now() % HOUR_MS) + HOUR_MS / 2;
const PLANS = 'plans: { hourly: { schedule: "0 * * * *" }, aside: {}, new: { schedule: "0 * * * *" } }\n';

function plansOf({ json }: Told): Map<string, { point: string | null; missed: { count: number } | null }> {
  const { plans } = json as { plans: { name: string; point: string | null; missed: { count: number } | null }[] };
  return new Map(plans.map((each) => [each.name, each]));
}

test('fault 46: status tells which times of a plan came and went, and the next point has them', async () => {
  using stack = await filesStack(PLANS);
  const runAhead: typeof stack.runAhead = (ms, ...rest) => stack.runAhead(HALF_PAST_MS + ms, ...rest);
  const first = await runAhead(0, 'backup', '--plan', 'hourly', '--scheduled');
  const { id } = first.json.point as { id: string };
  assert.match(id, /-\d{2}0000$/);

  const now = await runAhead(0, 'status');
  assert.equal(now.exit, 0, now.text);
  assert.deepEqual([...plansOf(now).keys()], ['hourly', 'new'], 'plans that have a schedule');
  assert.deepEqual(plansOf(now).get('hourly'), { name: 'hourly', point: id, missed: null });
  const later = await runAhead(4 * HOUR_MS, 'status');
  assert.equal(later.exit, 3);
  assert.equal(plansOf(later).get('hourly')?.missed?.count, 3);
  assert.match(later.text, /^PLAN hourly was not run 3 times, from \S+:00Z to \S+:00Z, as its schedule has it$/m);
  assert.equal(plansOf(later).get('new')?.missed, null, 'it may be new');

  const next = await runAhead(4 * HOUR_MS, 'backup', '--plan', 'hourly', '--scheduled');
  assert.equal(next.exit, 0);
  const point = next.json.point as { id: string; missed: { count: number } };
  assert.equal(point.missed.count, 3);
  assert.match(next.text, /plan hourly was not run 3 times/);
  assert.match((await runAhead(4 * HOUR_MS, 'show', point.id)).text, /^missed +plan hourly was not run 3 times/m);
  const well = await runAhead(4 * HOUR_MS, 'status');
  assert.deepEqual([well.exit, plansOf(well).get('hourly')?.missed], [0, null]);
});

test('a scheduled time that was run already is nothing to do', async () => {
  using stack = await filesStack(PLANS);
  const first = await stack.runAhead(HALF_PAST_MS, 'backup', '--plan', 'hourly', '--scheduled');
  const again = await stack.runAhead(HALF_PAST_MS, 'backup', '--plan', 'hourly', '--scheduled');
  const { id } = first.json.point as { id: string };
  assert.deepEqual([again.exit, again.json], [0, { point: null, slot_held_by: { point: id, state: 'done' } }]);
  assert.match(
    again.text,
    new RegExp(`^nothing to do: point ${id} is of this scheduled time already .*--plan hourly\\)$`),
  );
  assert.equal(
    (await stack.runAhead(HALF_PAST_MS, 'backup', '--plan', 'hourly')).exit,
    0,
    'without --scheduled there is one more',
  );
});
