// Killed at any step of a backup of a real server: on the next look every listed point restores equal (fault 45).

import assert from 'node:assert/strict';
import { delimiter, dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { needServer } from '../servers/need.ts';
import { postgresMajors, startPostgres } from '../servers/postgres.ts';
import { redisNames, startRedis } from '../servers/redis.ts';
import { lifeboat } from './lifeboat.ts';
import { query } from './postgres.ts';
import { redisCommand } from './redis.ts';
import { type Workspace, workspace } from './workspace.ts';

const preload = new URL('./die-at.ts', import.meta.url).href;
/** Each server is killed at another one of so many changes: the store is the same for all of them. */
const STRIDE = postgresMajors.length + redisNames.length;

interface Source {
  readonly settings: string;
  /** So that no two points are the same. */
  change(): Promise<unknown>;
  /** Where sandboxes find this server's program. */
  readonly path: string;
}

/** Kills backups before the changes first, first + STRIDE … until one gets through; then every point is rehearsed. */
async function killedEverywhere(t: TestContext, at: Workspace, source: Source, first: number): Promise<void> {
  at.configure(`stack: shop\nstores:\n  main: ${at.store('store')}\ncomponents:\n  it: ${source.settings}\n`);
  await at.run(0, 'init');
  await source.change();
  await at.run(0, 'backup');
  let killed = 0;
  for (let dieAt = first; ; dieAt += STRIDE) {
    await source.change();
    const env = { NODE_OPTIONS: `--import=${preload}`, DIE_BELOW: join(at.dir, 'store'), DIE_AT: String(dieAt) };
    const { code, stderr } = await lifeboat(['backup'], { cwd: at.dir, env });
    if (code !== null) {
      assert.equal(code, 0, stderr);
      break;
    }
    killed += 1;
  }
  assert.ok(killed > 0, 'no backup was killed');
  const { points } = (await at.run(0, 'list', '--json')).json() as { points: { id: string }[] };
  t.diagnostic(`${killed} backups were killed, and ${points.length} points are listed`);
  const env = { PATH: [source.path, process.env.PATH].join(delimiter) };
  for (const { id } of points) await at.runWith({ env }, 0, 'drill', '--point', id);
}

// Most of it is starting the command: two at once keep two processors busy.
describe('a backup killed at any step leaves only points that restore equal (fault 45)', { concurrency: 2 }, () => {
  for (const [i, major] of postgresMajors.entries()) {
    test(`of PostgreSQL ${major}`, async (t) => {
      if (!(await needServer(t, `postgres-${major}`))) return;
      await using server = await startPostgres(major);
      await query(server.url, 'create database shop');
      const shop = server.url.replace(/postgres$/, 'shop');
      await query(shop, 'create table orders as select g as id, md5(g::text) as note from generate_series(1, 5000) g');
      const settings = `{ kind: postgresql, url: "${shop}", bin_dir: ${server.bin} }`;
      const change = () => query(shop, 'insert into orders select count(*) + 1 from orders');
      await killedEverywhere(t, workspace('killed'), { settings, change, path: server.bin }, i);
    });
  }

  for (const [i, kind] of redisNames.entries()) {
    test(`of ${kind}`, async (t) => {
      if (!(await needServer(t, kind))) return;
      await using server = await startRedis(kind);
      const fill = "for i = 1, 5000 do redis.call('set', 'key ' .. i, string.rep('x', i % 100)) end";
      await redisCommand(server.url, ['eval', fill, '0']);
      const settings = `{ kind: redis, url: "${server.url}" }`;
      const change = () => redisCommand(server.url, ['incr', 'counter']);
      await killedEverywhere(
        t,
        workspace('killed'),
        { settings, change, path: dirname(server.program) },
        postgresMajors.length + i,
      );
    });
  }
});
