// Following across failovers: timelines that switch while they are followed, or while nobody does.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import type { Journal } from '../../../core/journal.ts';
import { liveContext } from '../../../core/testing.ts';
import { physicalOf, testDirs } from '../physical/testing.ts';
import { sql } from '../testing.ts';
import { historyIn } from './history.ts';
import { placeOf, positionOf } from './positions.ts';
import {
  assertOnDisk,
  caughtUp,
  clockOf,
  endOf,
  follow,
  journalStore,
  piecesOf,
  standbyDir,
  until,
} from './testing.ts';

const KEPT = { conf: { wal_keep_size: '1GB' } };
const SOME = 'insert into many select g, repeat(md5(g::text), 20) from generate_series(1, 5000) g';

for (const major of [15, 18] as const) {
  describe(`failovers of PostgreSQL ${major}`, { skip: await missing(`postgres-${major}`) }, () => {
    const ctx = liveContext();

    test('a standby takes over: what only it has of the old timeline is stored, and the next goes on from there', async () => {
      using dirs = testDirs();
      await using primary = await startPostgres(major, KEPT);
      const store = await journalStore(ctx);
      await sql(primary, 'postgres', 'create table many (g int, text text)');
      {
        await using follower = await follow(physicalOf(primary), { store });
        await until('a base is taken', () => follower.bases.length > 0);
        await caughtUp(primary, follower);
      }
      await using standby = await startPostgresOn(major, await standbyDir(primary, dirs.make('standby')));
      await sql(primary, 'postgres', SOME);
      await promoteAfter(primary, standby);
      const switchedAt = await clockOf(standby);
      await sql(standby, 'postgres', SOME);
      await using follower = await follow(physicalOf(standby), { store });
      await caughtUp(standby, follower);
      await assertChain(follower.journal, standby, [1, 2]);
      // Else a moment after the switch would be looked for in the timeline that had ended before it.
      const [past] = await piecesOf(ctx, follower.journal);
      assert.ok(past && (past.ranges.at(-1)?.to.at ?? '') < switchedAt, 'it came when the next one had begun');
      await until('the new timeline has a base', () => follower.bases.length > 0);
      assert.deepEqual(follower.bases[0]?.source, follower.writer.lineage()?.source);
      assert.deepEqual(follower.failures, []);
    });

    test('what the old primary wrote after the switch is no part of what goes on', async () => {
      using dirs = testDirs();
      await using primary = await startPostgres(major, KEPT);
      const store = await journalStore(ctx);
      await sql(primary, 'postgres', 'create table many (g int, text text)');
      await using standby = await startPostgresOn(major, await standbyDir(primary, dirs.make('standby')));
      let ahead = '';
      {
        await using follower = await follow(physicalOf(primary), { store });
        await caughtUp(primary, follower);
        await sql(standby, 'postgres', 'select pg_promote()');
        await sql(primary, 'postgres', SOME);
        ahead = await endOf(primary);
        await caughtUp(primary, follower);
      }
      await primary.kill();
      await using follower = await follow(physicalOf(standby), { store });
      await until('the timeline has switched', () => follower.writer.lineage()?.parent != null);
      await sql(standby, 'postgres', SOME);
      await caughtUp(standby, follower);
      const { parent } = follower.writer.lineage() ?? {};
      assert.ok(parent && parent.position < ahead, 'it switched before');
      const [first, second] = await piecesOf(ctx, follower.journal);
      assert.ok(first && second && second.from === placeOf(parent.position));
      assertOnDisk(standby, second);
    });

    test('a standby that is followed is promoted, and promoted again', async () => {
      using dirs = testDirs();
      await using primary = await startPostgres(major, KEPT);
      await sql(primary, 'postgres', 'create table many (g int, text text)');
      await using standby = await startPostgresOn(major, await standbyDir(primary, dirs.make('standby')));
      const store = await journalStore(ctx);
      await using follower = await follow(physicalOf(standby), { store });
      await sql(primary, 'postgres', SOME);
      await until('it is followed', () => follower.writer.lineage() !== null);
      await promoteAfter(primary, standby);
      await sql(standby, 'postgres', SOME);
      await caughtUp(standby, follower);
      await using next = await startPostgresOn(major, await standbyDir(standby, dirs.make('next')));
      await using last = await startPostgresOn(major, await standbyDir(standby, dirs.make('last')));
      await follower[Symbol.asyncDispose]();
      await sql(standby, 'postgres', SOME);
      await promoteAfter(standby, next);
      await using again = await follow(physicalOf(next), { store });
      await caughtUp(next, again);
      await assertChain(again.journal, next, [1, 2, 3]);
      // It was left behind on timeline 2.
      await again[Symbol.asyncDispose]();
      await using wrong = await follow(physicalOf(last), { store });
      await until('it is refused', () => wrong.failures.some(({ code }) => code === 'different'));
      assert.match(wrong.failures[0]?.message ?? '', /timeline 2, and timeline 3 was followed: two primaries\?/);
    });

    async function promoteAfter(primary: Postgres, standby: Postgres): Promise<void> {
      const end = await endOf(primary);
      await until('the standby has it', async () => {
        const [row] = (await sql(standby, 'postgres', 'select pg_last_wal_receive_lsn()::text as lsn')) as {
          lsn: string;
        }[];
        return positionOf(row?.lsn ?? '0/0') >= end;
      });
      await primary.kill();
      await sql(standby, 'postgres', 'select pg_promote()');
    }

    /** Each goes on where its history says that the one before ended; the server has all of it. */
    async function assertChain(journal: Journal, server: Postgres, timelines: readonly number[]): Promise<void> {
      const lineages = await Array.fromAsync(journal.lineages(ctx));
      const pieces = await piecesOf(ctx, journal);
      assert.deepEqual(
        pieces.map(({ timeline }) => timeline),
        timelines,
      );
      for (const [at, piece] of pieces.entries()) {
        const [lineage, next] = [lineages[at], pieces[at + 1]];
        assert.equal(lineage?.parent?.lineage, lineages[at - 1]?.id);
        if (next) assert.equal(piece.from + piece.bytes.length, next.from);
        else assertOnDisk(server, piece);
        const history = historyIn(lineage?.detail);
        if (at === 0) assert.equal(history, null);
        else assert.match(history ?? '', new RegExp(`^${at}\\t[0-9A-F]+/[0-9A-F]+\\t`, 'm'));
      }
    }
  });
}
