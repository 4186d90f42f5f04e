// Backups beside a log that is stored: of the server that was followed, and of a copy that went on by itself.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import type { CapturedComponent } from '../../../core/point.ts';
import type { Store } from '../../../core/storage.ts';
import { liveContext } from '../../../core/testing.ts';
import { backUp } from '../../../engine/backup.ts';
import { postgresqlDriver } from '../driver.ts';
import { physicalOf, testDirs } from '../physical/testing.ts';
import { sql } from '../testing.ts';
import { COMPONENT, caughtUp, copiedAside, endOf, follow, journalStore, until } from './testing.ts';

const SOME = "select pg_logical_emit_message(true, 'x', repeat('y', 3000))";

for (const major of [15, 18] as const) {
  describe(`backups of PostgreSQL ${major} beside its log`, { skip: await missing(`postgres-${major}`) }, () => {
    const ctx = liveContext();

    test('fault 33: a base of a copy that went on by itself joins no log, wherever that ends', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, { conf: { wal_keep_size: '1GB' } });
      const store = await journalStore(ctx);
      await copiedAside(server, dirs.make('copy'));
      await using copy = await startPostgresOn(major, dirs.absent('copy'));
      assert.ok((await backedUp(server, store)).journal, 'nothing is stored that could be another log');
      await followed(server, store);
      assert.ok((await backedUp(server, store)).journal, 'behind what is stored');
      const stored = (await Array.fromAsync(store.journal(COMPONENT).stretches(ctx))).at(-1)?.to.position ?? '';
      await writtenBeyond(copy, stored);
      await refused(copy, store);
      await writtenBeyond(server, await endOf(copy));
      await followed(server, store);
      await refused(copy, store);
    });

    async function followed(server: Postgres, store: Store): Promise<void> {
      await using follower = await follow(physicalOf(server), { store });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
    }
    async function writtenBeyond(server: Postgres, position: string): Promise<void> {
      while ((await endOf(server)) <= position) await sql(server, 'postgres', SOME, 'select pg_switch_wal()');
      await sql(server, 'postgres', SOME);
    }
    async function refused(copy: Postgres, store: Store): Promise<void> {
      const { journal, warnings } = await backedUp(copy, store);
      assert.equal(journal, null);
      assert.match(warnings.join(), /it joins no log: .* Two primaries, or a copy that went on\?/);
    }
    async function backedUp(server: Postgres, store: Store): Promise<CapturedComponent> {
      const settings = physicalOf(server);
      const driver = postgresqlDriver;
      const parts = { kind: driver.kind, driver, component: driver.open(settings), settings };
      const components = [{ name: COMPONENT, ...parts, restoreAfter: [], checks: [] }];
      const stores = [{ name: 'local', store }];
      const { point } = await backUp(ctx, { stack: 'shop', plan: 'nightly', components, stores });
      const captured = point?.components[COMPONENT];
      return captured?.error === null ? captured : assert.fail();
    }
  });
}
