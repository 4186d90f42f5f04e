// Restores over an old data directory: of real servers, broken off, and over what is somebody else's.

import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import type { Source } from '../../../core/model.ts';
import { liveContext, type TestContext } from '../../../core/testing.ts';
import { postgresqlDriver } from '../driver.ts';
import { captureOf, sql } from '../testing.ts';
import { MARK } from './target.ts';
import { differencesIn, fillWithTablespaces, physicalOf, rowsOf, testDirs } from './testing.ts';

const delta = { delta: true } as const;

function keptOf({ logged }: TestContext): number {
  const last = logged.findLast(({ message }) => message === 'files that were the same stay');
  assert.ok(last);
  return (last.fields as { kept: number }).kept;
}

for (const major of [15, 17, 18] as const) {
  const skip = await missing(`postgres-${major}`);
  describe(`a restore of PostgreSQL ${major} over an old data directory`, { skip }, () => {
    test('keeps what is the same, replaces what differs, and takes away what came since', async () => {
      const ctx = liveContext();
      using dirs = testDirs();
      await using server = await startPostgres(major);
      const places = await fillWithTablespaces(server, dirs);
      const { source } = await captureOf(ctx, physicalOf(server));
      const path = dirs.absent('old');
      const to = { [places.fast]: dirs.absent('fast here'), '*': dirs.absent('others') };
      const target = postgresqlDriver.open({ data_directory: path, tablespaces: to, bin_dir: server.bin });
      await target.restore(ctx, { base: source });
      {
        await using aged = await startPostgresOn(major, path);
        await sql(
          aged,
          'shop',
          'update hot set md5 = md5 || 1',
          'create table late tablespace fast as select 1 as one',
        );
        await sql(aged, 'shop', 'drop table customers', 'checkpoint');
        await assert.rejects(target.restore(ctx, { base: source }, delta), { code: 'blocked', message: /runs on it/ });
        assert.ok(!existsSync(join(path, MARK)));
      }
      writeFileSync(join(path, 'stray'), 'x');
      const kept = statSync(join(path, 'PG_VERSION'));
      await assert.rejects(target.restore(ctx, { base: source }), { code: 'target-not-empty' });
      assert.match((await target.cautions?.(ctx, { base: source }, delta))?.join() ?? '', /the log in pg_wal too/);
      const { method } = await target.restore(ctx, { base: source }, delta);
      assert.equal(method, 'files that differ, pg_verifybackup');
      const files = (await Array.fromAsync(source.parts(ctx, 'physical/'))).length;
      assert.ok(keptOf(ctx) > files / 2, `${keptOf(ctx)} of ${files}`);
      assert.equal(statSync(join(path, 'PG_VERSION')).ino, kept.ino, 'it was not written again');
      assert.ok(!existsSync(join(path, 'stray')) && !existsSync(join(path, MARK)));
      assert.deepEqual(await differencesIn(ctx, source, target), []);
      await using again = await startPostgresOn(major, path);
      for (const table of ['hot', 'customers']) {
        assert.deepEqual(await rowsOf(again, 'shop', table), await rowsOf(server, 'shop', table), table);
      }
      assert.deepEqual(await rowsOf(again, 'archive', 'old'), await rowsOf(server, 'archive', 'old'));
    });
  });
}

const skip = await missing('postgres-16');
describe('a restore over a directory that is there', { skip }, () => {
  test('fault 22: broken off it says so, does not start, and goes on when it is repeated', async () => {
    const ctx = liveContext();
    using dirs = testDirs();
    await using server = await startPostgres(16);
    const { source } = await captureOf(ctx, physicalOf(server));
    const path = dirs.absent('old');
    const target = postgresqlDriver.open({ data_directory: path, bin_dir: server.bin });
    await target.restore(ctx, { base: source });
    for (const name of ['base/1/1259', 'base/1/1249', 'pg_xact/0000']) appendFileSync(join(path, name), 'x');
    const breaking: Source = {
      ...source,
      async *get(c, name, range) {
        if (name.endsWith('pg_xact/0000')) throw new Error('pulled out');
        yield* source.get(c, name, range);
      },
    };
    await assert.rejects(target.restore(ctx, { base: breaking }, delta), /pulled out/);
    assert.ok(existsSync(join(path, MARK)));
    assert.ok(!existsSync(join(path, 'global/pg_control')));
    await assert.rejects(startPostgresOn(16, path));
    assert.equal((await target.probe(ctx)).holdsData, null);
    const { ino } = statSync(join(path, 'base/1/1259'));
    await target.restore(ctx, { base: source }, delta);
    assert.equal(statSync(join(path, 'base/1/1259')).ino, ino, 'what had come back stays');
    assert.deepEqual(await differencesIn(ctx, source, target), []);
    await using _ = await startPostgresOn(16, path);
  });

  test('fault 23: what is of another server, or of none, stays as it is', async () => {
    const ctx = liveContext();
    using dirs = testDirs();
    await using server = await startPostgres(16);
    const { source } = await captureOf(ctx, physicalOf(server));
    const path = dirs.absent('theirs');
    await using other = await startPostgres(16, { ownIdentity: true });
    const { source: theirs } = await captureOf(ctx, physicalOf(other));
    const target = postgresqlDriver.open({ data_directory: path, bin_dir: server.bin });
    await target.restore(ctx, { base: theirs });
    await assert.rejects(target.restore(ctx, { base: source }, delta), {
      code: 'different',
      message: /another server/,
    });
    await assert.rejects(async () => target.cautions?.(ctx, { base: source }, delta), { code: 'different' });
    assert.deepEqual(await differencesIn(ctx, theirs, target), []);

    const mine = dirs.make('mine');
    writeFileSync(join(mine, 'letter'), 'x');
    const there = postgresqlDriver.open({ data_directory: mine, bin_dir: server.bin });
    await assert.rejects(there.restore(ctx, { base: source }, delta), { code: 'target-not-empty' });
    assert.deepEqual(readdirSync(mine), ['letter']);
  });

  test('fault 23: a note of a process that has ended is none of a live server, one of a server is', async () => {
    const ctx = liveContext();
    using dirs = testDirs();
    await using server = await startPostgres(16);
    const { source } = await captureOf(ctx, physicalOf(server));
    const path = dirs.absent('crashed');
    const target = postgresqlDriver.open({ data_directory: path, bin_dir: server.bin });
    await target.restore(ctx, { base: source });
    writeFileSync(join(path, 'postmaster.pid'), `${server.pid}\n/elsewhere\n`);
    await assert.rejects(target.restore(ctx, { base: source }, delta), { code: 'blocked' });
    for (const note of ['', '4194300\n', `${process.pid}\n`]) {
      writeFileSync(join(path, 'postmaster.pid'), note);
      await target.restore(ctx, { base: source }, delta);
      assert.ok(!existsSync(join(path, 'postmaster.pid')));
    }
  });

  test('links in it are taken away, not followed', async () => {
    const ctx = liveContext();
    using dirs = testDirs();
    await using server = await startPostgres(16);
    const { source } = await captureOf(ctx, physicalOf(server));
    const path = dirs.absent('linked');
    const target = postgresqlDriver.open({ data_directory: path, bin_dir: server.bin });
    await target.restore(ctx, { base: source });
    const elsewhere = dirs.make('elsewhere');
    writeFileSync(join(elsewhere, '1'), 'x');
    symlinkSync(elsewhere, join(path, 'extra'));
    symlinkSync(join(elsewhere, '1'), join(path, 'base/1/99999'));
    await target.restore(ctx, { base: source }, delta);
    assert.equal(readFileSync(join(elsewhere, '1'), 'utf8'), 'x');
    assert.deepEqual(await differencesIn(ctx, source, target), []);
  });
});
