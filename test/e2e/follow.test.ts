// Following by the command itself, on a real server: killed, started again, stopped, and dropped.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { needServer } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { type Running, startFollowing } from './following.ts';
import { query } from './postgres.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, run } = workspace('follow');

/** Up to where all must be stored so that what was done so far is. */
async function endOf({ url }: Postgres): Promise<string> {
  const [row] = await query(url, 'select pg_current_wal_flush_lsn()::text as lsn');
  const [high = '', low = ''] = String(row?.lsn).split('/');
  return `${high.padStart(8, '0')}${low.padStart(8, '0')}`.toLowerCase();
}
async function stored(running: Running, server: Postgres): Promise<void> {
  const end = await endOf(server);
  await running.until(({ up_to, note }) => (up_to?.position ?? '') >= end && !/catches up|behind/.test(note ?? ''));
}

test('follow goes on after a kill, stops cleanly, has no gap in any store, and gives the slot back', async (t) => {
  if (!(await needServer(t, 'postgres-17'))) return;
  await using server = await startPostgres(17);
  const withStores = (first = ''): void =>
    configure(`stack: shop
stores:
${first}  main: ${store('main')}
  plain: { format: plain, layout: dated, bucket: ${join(dir, 'plain')} }
components:
  main-db: { kind: postgresql, url: "${server.url}", capture: [physical], follow: true, bin_dir: ${server.bin} }
plans:
  nightly: { keep: { last: 1 } }
`);
  withStores();
  await run(0, 'init');
  const first = startFollowing(dir);
  await first.until(({ note }) => /takes a point/.test(note ?? ''));
  await first.until(({ note, up_to }) => up_to !== undefined && !/takes a point/.test(note ?? ''));
  await sql(server, 'postgres', 'create table orders as select generate_series(1, 1000) as id');
  await stored(first, server);
  const another = await run(19, 'follow', 'main-db', '--json');
  assert.match(another.stdout, /works on this journal/);
  assert.equal((await first.kill('SIGKILL')).code, null);

  await sql(server, 'postgres', 'insert into orders select generate_series(1001, 2000)');
  const second = startFollowing(dir);
  await stored(second, server);
  const { code, json } = await second.kill('SIGTERM');
  assert.equal(code, 0);
  const [told] = (json() as { components: { name: string; bytes: number; stores_behind: string[] }[] }).components;
  assert.deepEqual([told?.name, told?.stores_behind], ['main-db', []]);
  assert.ok((told?.bytes ?? 0) > 0);

  for (const each of ['main', 'plain']) await run(0, 'verify', '--all', '--read-data', '--store', each);
  const { points } = (await run(0, 'list', '--json')).json() as { points: { plan: string }[] };
  assert.deepEqual(points.map(({ plan }) => plan).toSorted(), ['follow']);
  await run(0, 'prune', '--apply');
  await run(0, 'verify', '--all', '--read-data');

  // Another store becomes the first one: what the old one has is not given up silently.
  withStores(`  fresh: ${store('fresh')}\n`);
  await run(0, 'init');
  const third = startFollowing(dir);
  await third.until(({ note }) => /waits: store fresh has no log of main-db, and store main up to/.test(note ?? ''));
  await run(0, 'copy', '--from', 'main', '--to', 'fresh');
  await sql(server, 'postgres', 'insert into orders select generate_series(2001, 3000)');
  await stored(third, server);
  assert.equal((await third.kill('SIGTERM')).code, 0);
  await run(0, 'verify', '--all', '--read-data');

  const slots = 'select slot_name from pg_replication_slots';
  const [{ slot_name } = {}] = await query(server.url, slots);
  const dropped = await run(0, 'follow', '--drop', 'main-db');
  assert.ok(dropped.stdout.includes(String(slot_name)), dropped.stdout);
  assert.deepEqual(await query(server.url, slots), []);
});

test('what can not be followed as it is configured ends follow at once, before anybody is asked', async () => {
  configure(`stack: shop
stores:
  logical: ${store('logical')}
components:
  main-db: { kind: postgresql, url: "postgresql://127.0.0.1:1/shop", capture: [logical], follow: true }
`);
  await run(0, 'init');
  const { stdout } = await run(10, 'follow', '--json');
  assert.match(stdout, /"code": *"settings-invalid".*set capture: \[physical\]/s);
});
