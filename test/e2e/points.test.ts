// What becomes of points once they are taken: looking, keeping, copying, and the passwords they lie behind.

import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { lifeboat } from './lifeboat.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, write, run } = workspace('points');
const secondFile = join(dir, 'second.password');
let ids: string[] = [];

async function listed(...args: string[]): Promise<string[]> {
  const { points } = (await run(0, 'list', '--json', ...args)).json() as { points: { id: string }[] };
  return points.map(({ id }) => id);
}

before(async () => {
  configure(`stack: shop
stores:
  local: ${store('local')}
  offsite: ${store('offsite')}
components:
  uploads: { kind: files, paths: [${join(dir, 'uploads')}], tier: critical }
tiers: { critical: { rpo: 1h } }
plans: { nightly: { schedule: "0 2 * * *", to: [local], keep: { last: 2 } } }
`);
  write('uploads/a.txt', 'first');
  write('second.password', 'another\n');
  await run(0, 'init');
});

test('a stack without a point is unprotected, and status says so with exit 3', async () => {
  const status = (await run(3, 'status', '--json')).json() as { well: boolean; components: { state: string }[] };
  assert.equal(status.well, false);
  assert.deepEqual(
    status.components.map(({ state }) => state),
    ['unprotected'],
  );
  await run(11, 'show');
  assert.match((await run(0, 'drill', 'history')).stdout, /no drill yet/);
});

test('status is well once there is a point, and show tells where it lies', async () => {
  for (const text of ['second', 'third', 'fourth', 'fifth']) {
    write('uploads/a.txt', text);
    await run(0, 'backup', '--plan', 'nightly');
  }
  ids = await listed();
  assert.equal(ids.length, 4);
  assert.match((await run(0, 'status')).stdout, /uploads +protected/);
  const shown = (await run(0, 'show', '--json')).json() as { id: string; plan: string; stores: { name: string }[] };
  assert.deepEqual([shown.id, shown.plan, shown.stores.map(({ name }) => name)], [ids[3], 'nightly', ['local']]);
  assert.ok((await run(0, 'show', ids[0] ?? '')).stdout.includes(`point      ${ids[0]}, complete`));
});

test('a drill is history afterwards, and its point counts as proved', async () => {
  const [, second = ''] = ids;
  await run(0, 'drill', '--point', second, '--store', 'local', '--evidence', 'drill.md');
  assert.ok(existsSync(join(dir, 'drill.md')));
  const { drills } = (await run(0, 'drill', 'history', '--json')).json() as {
    drills: { point: string; verdict: string }[];
  };
  assert.deepEqual(
    drills.map(({ point, verdict }) => [point, verdict]),
    [[second, 'pass']],
  );
  const shown = (await run(0, 'show', 'latest-proved', '--json')).json() as { id: string };
  assert.equal(shown.id, second);
});

test('prune shows what would go and removes it only when told, never the newest proved point', async () => {
  const preview = await run(0, 'prune', '--store', 'local');
  assert.match(preview.stdout, /local: 4 points, 1 would go/);
  assert.match(preview.stdout, /this is a preview: add --apply/);
  assert.deepEqual(await listed(), ids);
  assert.match((await run(0, 'prune', '--apply')).stdout, /local: 4 points, 1 removed/);
  assert.deepEqual(await listed(), ids.slice(1));
  await run(0, 'verify', '--read-data', '--store', 'local');
});

test('copy fills another store, and says what is there already when it is repeated', async () => {
  assert.deepEqual(await listed('--store', 'offsite'), []);
  const [first = ''] = ids.slice(1);
  assert.match((await run(0, 'copy', first, '--from', 'local', '--to', 'offsite')).stdout, /^1 point copied/);
  assert.match(
    (await run(0, 'copy', '--from', 'local', '--to', 'offsite')).stdout,
    /^2 points copied .* 1 there already/,
  );
  assert.deepEqual(await listed('--store', 'offsite'), ids.slice(1));
  await run(0, 'verify', '--read-data', '--store', 'offsite');
  await run(2, 'copy', '--from', 'local', '--to', 'local');
});

test('a second password opens the store, and the last one can not be removed', async () => {
  await run(2, 'keys', 'list'); // of which store?
  const keys = async (): Promise<{ id: string; current: boolean }[]> =>
    (
      (await run(0, 'keys', 'list', '--store', 'local', '--json')).json() as {
        keys: { id: string; current: boolean }[];
      }
    ).keys;
  const [first] = await keys();
  const refused = await run(2, 'keys', 'remove', '--store', 'local', first?.id ?? '');
  assert.match(refused.stderr, /last|in use/);
  await run(0, 'keys', 'add', '--store', 'local', '--new-password-file', secondFile);
  const second = (await keys()).find(({ current }) => !current);
  await run(11, 'keys', 'remove', '--store', 'local', 'ffffffffff');
  await run(0, 'keys', 'remove', '--store', 'local', second?.id ?? '');
  assert.equal((await keys()).length, 1);
});

test('a changed password locks the old one out, and opens everything where the configuration says it', async () => {
  await run(0, 'keys', 'passwd', '--store', 'local', '--new-password-file', secondFile);
  await run(15, 'list', '--store', 'local');
  configure(`stack: shop
stores:
  local: { format: restic, bucket: ${join(dir, 'local')}, password: "\${file:${secondFile}}" }
components: { uploads: { kind: files, paths: [${join(dir, 'uploads')}] } }
`);
  await run(0, 'verify', '--all', '--read-data');
  assert.deepEqual(await listed(), ids.slice(1));
});

test('a scheduled run that comes late is named after its slot, and is the newest all the same', async () => {
  await run(0, 'keys', 'kit');
  await run(0, 'backup', '--to', 'local');
  configure(`stack: shop
stores:
  local: { format: restic, bucket: ${join(dir, 'local')}, password: "\${file:${secondFile}}" }
components: { uploads: { kind: files, paths: [${join(dir, 'uploads')}] } }
plans: { yearly: { schedule: "0 2 1 1 *" } }
`);
  const { point } = (await run(0, 'backup', '--plan', 'yearly', '--scheduled', '--json')).json() as {
    point: { id: string };
  };
  assert.match(point.id, /-01-01-020000$/);
  assert.equal(((await run(0, 'show', '--json')).json() as { id: string }).id, point.id);
  const status = (await run(0, 'status', '--json')).json() as { components: { point: string }[] };
  assert.deepEqual(
    status.components.map((each) => each.point),
    [point.id],
  );
});

test('fault 46: two runs of one scheduled time make one point, and status tells what was missed', async () => {
  const store = `local: { format: restic, bucket: ${join(dir, 'twice')}, password: twice }`;
  const plan = (schedule: string): void =>
    configure(`stack: shop
stores: { ${store} }
components: { uploads: { kind: files, paths: [${join(dir, 'uploads')}] } }
plans: { often: { schedule: "${schedule}" } }
`);
  plan('0 2 1 1 *');
  await run(0, 'init');
  const scheduled = ['backup', '--plan', 'often', '--scheduled', '--json'];
  type Ran = { point: { id: string } | null; slot_held_by?: { point: string; state: string } };
  const both = (await Promise.all([run(0, ...scheduled), run(0, ...scheduled)])).map((each) => each.json() as Ran);
  const [made, ...more] = both.flatMap(({ point }) => point?.id ?? []);
  assert.deepEqual(more, []);
  assert.deepEqual(await listed(), [made]);
  assert.equal(both.find(({ point }) => point === null)?.slot_held_by?.point, made);
  assert.match((await run(0, ...scheduled.slice(0, -1))).stdout, /^nothing to do: point \d{4}-01-01-020000 is of this/);

  const status = async (code: number): Promise<unknown> =>
    ((await run(code, 'status', '--json')).json() as { plans: unknown }).plans;
  assert.deepEqual(await status(0), [{ name: 'often', point: made, missed: null }]);
  // The same plan, had it been due each month: late is not missed, and what came before the run is not asked for.
  plan('0 2 1 * *');
  assert.deepEqual(await status(0), [{ name: 'often', point: made, missed: null }]);
});

test('fault 46: two runs that find one of the same scheduled time killed make one point of it', async () => {
  configure(`stack: shop
stores: { local: { format: restic, bucket: ${join(dir, 'thrice')}, password: thrice } }
components: { uploads: { kind: files, paths: [${join(dir, 'uploads')}] } }
plans: { yearly: { schedule: "0 2 1 1 *", hooks: { before: [{ shell: "! test -e ${dir}/die || kill -9 $PPID" }] } } }
`);
  await run(0, 'init');
  write('die', '');
  const scheduled = ['backup', '--plan', 'yearly', '--scheduled', '--json'];
  const killed = await lifeboat(scheduled, { cwd: dir });
  assert.equal(killed.code, null, killed.stderr);
  rmSync(join(dir, 'die'));
  const both = await Promise.all([run(0, ...scheduled), run(0, ...scheduled)]);
  const points = both.flatMap((each) => (each.json() as { point: { id: string } | null }).point?.id ?? []);
  assert.equal(points.length, 1);
  assert.match(points.join(), /^\d{4}-01-01-020000$/, 'it was not gone on with');
  assert.deepEqual(await listed(), points);
});

test('what a restore takes of the data that it replaces is no backup, and status does not count it as one', async () => {
  const newest = async (): Promise<unknown> =>
    ((await run(0, 'status', '--json')).json() as { components: [{ point: string }] }).components[0].point;
  const before = await newest();
  const known = await listed();
  await run(0, 'restore', 'latest', '--in-place', '--yes');
  assert.equal((await listed()).length, known.length + 1, 'no safety point was taken');
  assert.equal(await newest(), before);
});
