// Base backups of real servers, restored to directories that servers are started on.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { postgresMajors, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import { liveContext } from '../../../core/testing.ts';
import { processSandboxes } from '../../../sandboxes/process/runner.ts';
import { postgresqlDriver } from '../driver.ts';
import { captureOf, sql } from '../testing.ts';
import { MARK } from './target.ts';
import { differencesIn, fillWithTablespaces, physicalOf, rowsOf, testDirs } from './testing.ts';

for (const major of postgresMajors) {
  const skip = await missing(`postgres-${major}`);
  describe(`base backups of PostgreSQL ${major}`, { skip }, () => {
    test('a server starts on what comes back, with what was there and its tablespaces elsewhere', async () => {
      const ctx = liveContext();
      using dirs = testDirs();
      await using server = await startPostgres(major);
      const places = await fillWithTablespaces(server, dirs);
      const tables = [
        ['shop', 'customers'],
        ['shop', 'hot'],
        ['archive', 'old'],
      ] as const;
      const before = await Promise.all(tables.map(([database, table]) => rowsOf(server, database, table)));
      let grown = 0;
      const { source, capture } = await captureOf(
        ctx,
        physicalOf(server),
        async () => {
          await sql(server, 'shop', 'create table late as select g from generate_series(1, 30000) g');
          grown += 1;
        },
        '',
      );
      assert.equal(grown, 1, 'a table came while the backup ran');
      assert.equal(capture.method, 'physical');
      assert.deepEqual(capture.warnings, []);
      assert.match(capture.cut.position, /^[0-9A-F]+\/[0-9A-F]+ on timeline 1$/);
      const { size } = (await sql(server, 'postgres', 'select count(*)::int as size from pg_replication_slots'))[0] as {
        size: number;
      };
      assert.equal(size, 0, 'nothing holds its log any more');

      const path = dirs.absent('restored');
      const to = { [places.fast]: dirs.absent('fast here'), '*': dirs.absent('others') };
      const settings = { data_directory: path, tablespaces: to, bin_dir: server.bin };
      const target = postgresqlDriver.open(settings);
      const restored = await target.restore(ctx, { base: source });
      assert.equal(restored.method, 'files, pg_verifybackup');
      assert.equal(statSync(path).mode & 0o777, 0o700);
      assert.equal(statSync(join(path, 'PG_VERSION')).mode & 0o777, 0o600);
      assert.ok(!existsSync(join(path, MARK)));
      assert.match(readFileSync(join(path, 'tablespace_map'), 'utf8'), /fast here/);
      assert.deepEqual(await differencesIn(ctx, source, target), []);
      await using again = await startPostgresOn(major, path);
      for (const [at, [database, table]] of tables.entries()) {
        assert.deepEqual(await rowsOf(again, database, table), before[at], table);
      }
      assert.deepEqual(await rowsOf(again, 'shop', 'late'), await rowsOf(server, 'shop', 'late'));
      await assert.rejects(target.restore(ctx, { base: source }), { code: 'blocked' }, 'a server runs there');
      await again.stop();
      await assert.rejects(target.restore(ctx, { base: source }), { code: 'target-not-empty' });

      const boxes = processSandboxes({ parent: dirs.open('boxes') });
      await using box = await boxes.start(
        ctx,
        postgresqlDriver,
        capture.serverVersion,
        physicalOf(server),
        capture.method,
      );
      await box.component.restore(ctx, { base: source });
      assert.deepEqual(await differencesIn(ctx, source, box.component), []);
      const served = await box.serve?.(ctx);
      assert.equal(await served?.measure?.(ctx, 'select count(*) from hot', 'shop'), 50_000);
      assert.equal(await served?.measure?.(ctx, 'select count(*) from old', 'archive'), 20_000);
    });
  });
}
