// A base of a copy of the server, and the log of that: they are called the same, and are of two servers.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import { liveContext } from '../../../core/testing.ts';
import { replayOf } from '../../../engine/replay.ts';
import { postgresqlDriver } from '../driver.ts';
import { physicalOf, testDirs } from '../physical/testing.ts';
import { captureOf, sql } from '../testing.ts';
import { COMPONENT, journalStore } from '../wal/testing.ts';
import { KEEPING, shipping } from './testing.ts';

for (const major of [15, 18] as const) {
  const skip = await missing(`postgres-${major}`);
  describe(`a base of PostgreSQL ${major} and a log that is not its own`, { skip }, () => {
    const ctx = liveContext();

    test("fault 33: a copy's base does not go on by the log of the server", async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, { conf: KEEPING });
      const store = await journalStore(ctx);
      await using writer = await store.journal(COMPONENT).write(ctx);
      await server.stop();
      execFileSync('cp', ['-a', `${server.dir}/.`, dirs.make('copy')]);
      await server.start();
      const ships = await shipping(ctx, writer, server);
      const own = await captureOf(ctx, physicalOf(server), undefined, '');
      await using copy = await startPostgresOn(major, dirs.absent('copy'));
      await sql(copy, 'postgres', 'create table only_in_the_copy ()', 'select pg_switch_wal()', 'create table more ()');
      const foreign = await captureOf(ctx, physicalOf(copy), undefined, '');
      await sql(server, 'postgres', 'create table t as select generate_series(1, 300000) g', 'select pg_switch_wal()');
      await sql(server, 'postgres', 'create table u as select generate_series(1, 300000) g');
      await ships.ship();
      const chainOf = async ({ source, capture }: typeof own) => {
        const point = capture.journal ?? assert.fail();
        const target = { kind: 'latest' } as const;
        return { base: source, replay: await replayOf(ctx, store.journal(COMPONENT), point, target, capture.cut) };
      };
      const to = (name: string) => postgresqlDriver.open({ data_directory: dirs.absent(name), bin_dir: copy.bin });
      const refused = { code: 'different', message: /other bytes .* than the base backup has: two primaries/ };
      await assert.rejects(async () => await to('one').suits?.(ctx, await chainOf(foreign)), refused);
      await assert.rejects(async () => await to('two').restore(ctx, await chainOf(foreign)), refused);
      await to('three').suits?.(ctx, await chainOf(own));
      const restored = await to('three').restore(ctx, await chainOf(own));
      await restored.settle?.(ctx);
      await to('four').restore(ctx, { base: foreign.source });
    });
  });
}
