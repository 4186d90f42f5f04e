// Base backups of what has changed, made whole on the way: beside PostgreSQL's own program that puts them together.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { unprivilegedUser } from '../../../../test/servers/install.ts';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import type { Source } from '../../../core/model.ts';
import { liveContext } from '../../../core/testing.ts';
import { postgresqlDriver } from '../driver.ts';
import { captureOf, sql } from '../testing.ts';
import { captureAfter, differencesIn, fillWithTablespaces, physicalOf, rowsOf, testDirs } from './testing.ts';

const exec = promisify(execFile);
const conf = { summarize_wal: 'on', autovacuum: 'off' };

/** What changes between two points: pages here and there, longer, shorter, emptied, new, dropped and moved tables. */
const CHANGES = `
  update hot set md5 = 'changed' where g % 1000 = 7;
  create table fresh tablespace fast as select g from generate_series(1, 5000) g;
  delete from shrinking where g > 300;
  delete from cut where ctid >= '(40,0)';
  truncate emptied;
  insert into growing select g from generate_series(1, 40000) g;
  drop table gone;
  alter table moving set tablespace fast;
`;

async function program(server: Postgres, name: string, ...args: string[]): Promise<void> {
  const env = { PGPASSWORD: server.password, LC_ALL: 'C' };
  await exec(join(server.bin, name), args, { ...(unprivilegedUser() ?? {}), env });
}

/** The files of relations below a directory, with all that is in them. */
function relationsIn(dir: string, below = ''): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const entry of readdirSync(join(dir, below), { withFileTypes: true })) {
    const name = join(below, entry.name);
    const isRelation = /^(base|global|pg_tblspc)(\/|$)/.test(name) && name !== 'global/pg_control';
    if (!isRelation) continue;
    if (entry.isFile()) found.set(name, readFileSync(join(dir, name)));
    else for (const [path, bytes] of relationsIn(dir, name)) found.set(path, bytes);
  }
  return found;
}

for (const major of [17, 18] as const) {
  const skip = await missing(`postgres-${major}`);
  describe(`what has changed in PostgreSQL ${major}`, { skip }, () => {
    test('comes alone, and the point is whole: file by file what pg_combinebackup makes of it', async () => {
      const ctx = liveContext();
      using dirs = testDirs();
      await using server = await startPostgres(major, { conf });
      const places = await fillWithTablespaces(server, dirs);
      const tables = ['shrinking', 'cut', 'emptied', 'growing', 'gone', 'moving'];
      const made = tables.map((name) => `create table ${name} as select g from generate_series(1, 20000) g`);
      await sql(server, 'shop', ...made, 'vacuum (freeze) cut', 'checkpoint');
      const { source: first } = await captureOf(ctx, physicalOf(server));
      await sql(server, 'shop', CHANGES);
      await sql(server, 'shop', 'vacuum shrinking', 'vacuum cut', 'checkpoint');
      const { source, capture, kept } = await captureAfter(ctx, physicalOf(server), first);
      assert.deepEqual(capture.warnings, []);
      const { files = 0, file_bytes: bytes = 0, sent_bytes: sent = 0 } = capture.totals;
      assert.ok(kept.length > files / 2, `${kept.length} of ${files} kept`);
      assert.ok(sent < bytes / 2, `${sent} of ${bytes} bytes sent`);

      const restore = async (point: Source, name: string): Promise<string> => {
        const path = dirs.absent(name);
        const tablespaces = { '*': dirs.absent(`${name} spaces`) };
        const target = postgresqlDriver.open({ data_directory: path, tablespaces, bin_dir: server.bin });
        const { method } = await target.restore(ctx, { base: point });
        assert.equal(method, 'files, pg_verifybackup');
        assert.deepEqual(await differencesIn(ctx, point, target), []);
        return path;
      };
      const [before, ours] = [await restore(first, 'before'), await restore(source, 'ours')];
      const theirs = await combined(server, { before, dirs, places: Object.values(places) });
      const [expected, actual] = [relationsIn(theirs), relationsIn(ours)];
      assert.ok(expected.size > 300);
      assert.deepEqual([...actual.keys()].sort(), [...expected.keys()].sort());
      for (const [name, content] of expected) assert.ok(actual.get(name)?.equals(content), name);
      assert.ok(!/INCREMENTAL/.test(readFileSync(join(ours, 'backup_label'), 'utf8')));

      await using again = await startPostgresOn(major, ours);
      for (const table of ['hot', 'fresh', 'shrinking', 'cut', 'emptied', 'growing', 'moving', 'customers']) {
        assert.deepEqual(await rowsOf(again, 'shop', table), await rowsOf(server, 'shop', table), table);
      }
      assert.deepEqual(await rowsOf(again, 'archive', 'old'), await rowsOf(server, 'archive', 'old'));
    });

    test('is told from what was told so before, again and again, while rows go on changing', async () => {
      const ctx = liveContext();
      using dirs = testDirs();
      await using server = await startPostgres(major, { conf, checksums: true });
      await sql(
        server,
        'postgres',
        'create table t as select g, repeat(md5(g::text), 20) from generate_series(1, 9000) g',
      );
      let { source } = await captureOf(ctx, physicalOf(server));
      for (const round of [0, 1, 2]) {
        const more = async (): Promise<unknown> =>
          await sql(server, 'postgres', `update t set g = g + 100000 where g % 500 = ${round}`);
        await more();
        // What comes while a small backup is sent may come after its end: the last one has all.
        const next = await captureAfter(ctx, physicalOf(server), source, round < 2 ? more : undefined);
        assert.ok(next.kept.length > 100);
        assert.deepEqual(next.capture.warnings, []);
        source = next.source;
      }
      const path = dirs.absent('third');
      const target = postgresqlDriver.open({ data_directory: path, bin_dir: server.bin });
      await target.restore(ctx, { base: source });
      assert.deepEqual(await differencesIn(ctx, source, target), []);
      await using again = await startPostgresOn(major, path);
      assert.deepEqual(await rowsOf(again, 'postgres', 't'), await rowsOf(server, 'postgres', 't'));
      await program(
        again,
        'pg_amcheck',
        '--all',
        '--install-missing',
        '-h',
        again.host,
        '-p',
        `${again.port}`,
        '-U',
        'postgres',
      );
    });
  });
}

interface Combining {
  readonly before: string;
  readonly dirs: ReturnType<typeof testDirs>;
  readonly places: readonly string[];
}

/** What PostgreSQL's own programs make of the same: nothing has changed on the server since. */
async function combined(server: Postgres, { before, dirs, places }: Combining): Promise<string> {
  const [changes, out] = [dirs.absent('changes'), dirs.absent('combined')];
  const login = ['-h', server.host, '-p', `${server.port}`, '-U', server.user];
  const spaces = places.map((place, at) => `--tablespace-mapping=${place}=${dirs.absent(`changes ${at}`)}`);
  const since = `--incremental=${join(before, 'backup_manifest')}`;
  await program(server, 'pg_basebackup', ...login, '-D', changes, '-c', 'fast', since, ...spaces);
  const to = places.map((_, at) => `--tablespace-mapping=${dirs.absent(`changes ${at}`)}=${dirs.absent(`out ${at}`)}`);
  await program(server, 'pg_combinebackup', before, changes, '-o', out, ...to);
  return out;
}
