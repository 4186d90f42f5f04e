// What goes wrong while a log is followed: slots that are lost, servers that are killed, set back or copied.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import { memoryBucket } from '../../../buckets/memory/bucket.ts';
import type { Store } from '../../../core/storage.ts';
import { liveContext } from '../../../core/testing.ts';
import { openServer } from '../driver.ts';
import { physicalOf, testDirs } from '../physical/testing.ts';
import { sql } from '../testing.ts';
import { placeOf, positionAt } from './positions.ts';
import {
  assertOnDisk,
  caughtUp,
  copiedAside,
  endOf,
  follow,
  journalStore,
  piecesOf,
  standbyDir,
  until,
} from './testing.ts';

const FORGETFUL = {
  conf: { wal_keep_size: '0', max_slot_wal_keep_size: '64MB', max_wal_size: '32MB', min_wal_size: '32MB' },
};
const SOME = 'insert into many select g, repeat(md5(g::text), 20) from generate_series(1, 5000) g';
const SWITCH = "select pg_logical_emit_message(true, 'x', ''::text), pg_switch_wal()";
const TABLE = 'create table many (g int, text text)';

for (const major of [15, 18] as const) {
  describe(`following PostgreSQL ${major} and what goes wrong`, { skip: await missing(`postgres-${major}`) }, () => {
    const ctx = liveContext();

    test('fault 29: the slot is lost: the gap is noted when it is found, and a new base is taken (fault 25)', async () => {
      await using server = await startPostgres(major, FORGETFUL);
      await sql(server, 'postgres', TABLE);
      const store = await journalStore(ctx);
      {
        await using follower = await follow(physicalOf(server), { store });
        await until('a base is taken', () => follower.bases.length > 0);
        await caughtUp(server, follower);
      }
      await forget(server);
      const [slot] = await sql(server, 'postgres', 'select wal_status from pg_replication_slots');
      assert.deepEqual(slot, { wal_status: 'lost' });
      await using follower = await follow(physicalOf(server), { store });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      const stretches = await Array.fromAsync(follower.journal.stretches(ctx));
      const [first, gap, second, ...others] = stretches;
      assert.ok(first?.gap === null && second?.gap === null && others.length === 0);
      assert.match(gap?.gap ?? '', /the slot was lost; .* has already been removed/);
      assert.deepEqual([gap?.from.position, gap?.to.position], [first.to.position, second.from.position]);
      assert.equal(second.lineage.parent, null);
      assert.ok(follower.bases[0] && follower.bases[0].from >= second.from.position, 'the base joins what follows');
      assert.ok(follower.ctx.logged.some(({ level, message }) => level === 'error' && /a gap is noted/.test(message)));
      const pieces = await piecesOf(ctx, follower.journal);
      assertOnDisk(server, pieces.at(-1) ?? assert.fail());
    });

    test('fault 25: the slot was dropped and segments are gone: noted with from and to, and gone on with', async () => {
      await using server = await startPostgres(major, FORGETFUL);
      await sql(server, 'postgres', TABLE);
      const store = await journalStore(ctx);
      {
        await using follower = await follow(physicalOf(server), { store });
        await caughtUp(server, follower);
      }
      await until('nobody uses the slot', async () => {
        return await openServer(physicalOf(server))
          .unfollow(ctx)
          .then(
            () => true,
            () => false,
          );
      });
      await forget(server);
      await using follower = await follow(physicalOf(server), { store });
      await until('it goes on', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      const gaps = (await Array.fromAsync(follower.journal.stretches(ctx))).filter(({ gap }) => gap !== null);
      assert.equal(gaps.length, 1);
      assert.match(gaps[0]?.gap ?? '', /the slot was not there; /);
    });

    test('a server that is killed at full speed: all that is in the journal is what it had written', async () => {
      await using server = await startPostgres(major, { conf: { wal_keep_size: '1GB', fsync: 'on' } });
      await sql(server, 'postgres', TABLE);
      await using follower = await follow(physicalOf(server));
      await until('a base is taken', () => follower.bases.length > 0);
      const acked: number[] = [];
      let isKilled = false;
      const writing = (async () => {
        while (!isKilled) {
          await sql(server, 'postgres', SOME);
          acked.push(placeOf(await endOf(server)));
        }
      })().catch(() => undefined); // the server is gone
      const stored = (): number[] => {
        const durable = placeOf(follower.writer.durable()?.position ?? positionAt(0));
        return acked.filter((place) => place <= durable);
      };
      await until('some of it is stored', () => stored().length > 2);
      await server.kill();
      isKilled = true;
      await writing;
      await until('the failure is seen', () => follower.failures.length > 0);
      const [piece = assert.fail()] = await piecesOf(ctx, follower.journal);
      assertOnDisk(server, piece);
      const [end, kept] = [piece.from + piece.bytes.length, stored()];
      assert.ok(kept.length > 2 && kept.every((place) => place <= end));
      await server.start();
      await caughtUp(server, follower);
      const [whole, ...others] = await piecesOf(ctx, follower.journal);
      assert.ok(whole && others.length === 0);
      assertOnDisk(server, whole);
    });

    test('what had come of a server that is gone is stored, though it was not time yet', async () => {
      await using server = await startPostgres(major);
      let isHeld = false;
      await using follower = await follow(physicalOf(server), {
        feed: ({ append }) => ({
          async append(within, range) {
            while (isHeld) await within.sleep(20);
            await append(within, range);
          },
        }),
      });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      isHeld = true;
      await sql(server, 'postgres', 'create table one ()');
      await ctx.sleep(2500); // it is being stored now
      await sql(server, 'postgres', 'create table two ()');
      const end = await endOf(server);
      await until('it was sent', async () => {
        const query = 'select bool_and(sent_lsn >= pg_current_wal_flush_lsn()) as is from pg_stat_replication';
        return ((await sql(server, 'postgres', query)) as { is: boolean }[])[0]?.is === true;
      });
      await ctx.sleep(300);
      await server.kill();
      isHeld = false;
      await until('it is stored', () => (follower.writer.durable()?.position ?? '') >= end);
    });

    test('fault 33: a copy that went on by itself is not followed: neither a longer log nor a shorter one', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, { conf: { wal_keep_size: '1GB' } });
      await sql(server, 'postgres', TABLE);
      const store = await journalStore(ctx);
      {
        await using follower = await follow(physicalOf(server), { store });
        await caughtUp(server, follower);
      }
      await server.stop();
      const copies = ['longer', 'shorter'].map((name) => {
        execFileSync('cp', ['-a', `${server.dir}/.`, dirs.make(name)]);
        return dirs.absent(name);
      });
      await server.start();
      {
        await using follower = await follow(physicalOf(server), { store });
        await sql(server, 'postgres', SOME);
        await caughtUp(server, follower);
      }
      for (const [dir = '', more, said] of [
        [copies[0], [SWITCH, SWITCH, SWITCH], /has other bytes than the journal: two primaries/],
        [copies[1], [], /its log ends at .*, and the journal at .*: it was set back, or there are two primaries/],
      ] as const) {
        await using copy = await startPostgresOn(major, dir);
        await sql(copy, 'postgres', 'create table only_here ()', ...more);
        await using follower = await follow(physicalOf(copy), { store });
        await until('it is refused', () => follower.failures.some(({ code }) => code === 'different'));
        assert.match(follower.failures[0]?.message ?? '', said);
      }
      {
        await using follower = await follow(physicalOf(server), { store });
        await sql(server, 'postgres', SOME);
        await caughtUp(server, follower);
        const [piece, ...others] = await piecesOf(ctx, follower.journal);
        assert.ok(piece && others.length === 0);
        assertOnDisk(server, piece);
      }
      // The way on for one that was set back and is to stay: a timeline of its own.
      const dir = copies[1] ?? '';
      writeFileSync(join(dir, 'standby.signal'), '');
      await using forked = await startPostgresOn(major, dir);
      await sql(forked, 'postgres', 'select pg_promote()', 'create table after_it ()');
      await using again = await follow(physicalOf(forked), { store });
      await until('a base is taken', () => again.bases.length > 0);
      await caughtUp(forked, again);
      const [, after] = await Array.fromAsync(again.journal.lineages(ctx));
      assert.equal(after?.parent, null, 'it has left a log that is not the one that was followed');
      assert.match(after?.why ?? '', /^timeline 2, which does not come from the log of 1 that was followed$/);
    });

    test('fault 33: a copy is known by what it has written, where all that was stored last are zeros', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, { conf: { wal_keep_size: '1GB' } });
      const store = await journalStore(ctx);
      await copiedAside(server, dirs.make('copy'));
      await followToPadding(server, store);
      await using copy = await startPostgresOn(major, dirs.absent('copy'));
      await sql(copy, 'postgres', 'create table only_here ()', ...Array.from({ length: 6 }, () => SWITCH));
      await using follower = await follow(physicalOf(copy), { store });
      await until('it is refused', () => follower.failures.length > 0);
      assert.match(follower.failures[0]?.message ?? '', /has other bytes than the journal: two primaries/);
    });

    test('fault 33: a copy that has removed what would tell it apart begins a journal of its own', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, FORGETFUL);
      const store = await journalStore(ctx);
      await copiedAside(server, dirs.make('copy'));
      const end = await followToPadding(server, store);
      await using copy = await startPostgresOn(major, dirs.absent('copy'));
      while ((await endOf(copy)) < end) await sql(copy, 'postgres', SWITCH);
      await sql(copy, 'postgres', 'create table only_here ()', 'checkpoint', 'checkpoint');
      await using follower = await follow(physicalOf(copy), { store });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(copy, follower);
      const [first, second, ...others] = await Array.fromAsync(follower.journal.stretches(ctx));
      assert.deepEqual([first?.to.position, others.length], [end, 0], 'nothing of it joins the log that was followed');
      assert.equal(second?.lineage.parent, null);
      assert.match(second?.lineage.why ?? '', /has removed what tells whether it is the log that was followed/);
      assertOnDisk(copy, (await piecesOf(ctx, follower.journal)).at(-1) ?? assert.fail());
    });

    test('fault 33: so does such a copy that was promoted: its first record follows one that is not stored', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, FORGETFUL);
      const store = await journalStore(ctx);
      await copiedAside(server, dirs.make('copy'));
      const end = await followToPadding(server, store);
      await using copy = await startPostgresOn(major, dirs.absent('copy'));
      await sql(copy, 'postgres', 'create table only_here ()', 'select pg_switch_wal()');
      await copy.stop();
      writeFileSync(join(copy.dir, 'standby.signal'), '');
      await copy.start();
      await sql(copy, 'postgres', 'select pg_promote()', 'checkpoint', 'checkpoint');
      await using follower = await follow(physicalOf(copy), { store });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(copy, follower);
      const [first, second, ...others] = await Array.fromAsync(follower.journal.stretches(ctx));
      assert.deepEqual([first?.to.position, others.length], [end, 0], 'nothing of it joins the log that was followed');
      assert.equal(second?.lineage.parent, null);
      assert.match(second?.lineage.why ?? '', /has removed what tells whether it is the log that was followed/);
    });

    test('a damaged end, with all before it gone from the server: it stays told, and a base begins anew', async () => {
      await using server = await startPostgres(major, FORGETFUL);
      const bucket = memoryBucket();
      const store = await journalStore(ctx, bucket);
      {
        await using follower = await follow(physicalOf(server), { store });
        await until('a base is taken', () => follower.bases.length > 0);
        await sql(server, 'postgres', TABLE);
        await caughtUp(server, follower);
      }
      const ranges = await Array.fromAsync(bucket.list(ctx, '0-lifeboat/journal/'), ({ key }) => key);
      const last = ranges.findLast((key) => /-[0-9a-f]{64}$/.test(key)) ?? assert.fail();
      await bucket.put(ctx, last, Buffer.from('damaged'));
      await forget(server);
      await using follower = await follow(physicalOf(server), { store });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      const told = await Array.fromAsync(follower.journal.stretches(ctx), ({ lineage, gap }) => [lineage.id, gap]);
      const unread = 'what was stored can not be read; run lifeboat verify --all --read-data';
      assert.deepEqual(told, [
        ['00000001', null],
        ['00000001', unread],
        ['00000002', null],
      ]);
      const found = await Array.fromAsync(store.check(ctx, { readData: 1 }));
      assert.deepEqual(
        found.map(({ verdict, journal }) => [verdict, journal?.noted]),
        [['fail', false]],
      );
      assert.deepEqual(follower.failures, []);
    });

    test('fault 28: a slot that nobody reads, that has no limit or holds half of it: each with the way out', async () => {
      await using server = await startPostgres(major, FORGETFUL);
      const component = openServer(physicalOf(server));
      const said = async (isFollowed = true): Promise<string[]> => {
        const findings = await component.kept(ctx, { isFollowed, stores: ['local'] });
        return findings.map(({ check, verdict, detail, hint }) => `${verdict}: ${check}: ${detail}; ${hint ?? ''}`);
      };
      assert.deepEqual(await said(false), [], 'nobody follows');
      assert.match((await said()).join('\n'), /^fail: .*there is none: .*run lifeboat follow: it makes the slot/);
      await sql(server, 'postgres', "select pg_create_physical_replication_slot('lifeboat_old', true)");
      const stray = /^fail: somebody follows by the slot lifeboat_old: .*pg_drop_replication_slot\('lifeboat_old'\)$/;
      assert.match((await said(false)).join('\n'), stray, 'of a configuration that is gone');
      await sql(server, 'postgres', "select pg_drop_replication_slot('lifeboat_old')");
      {
        await using follower = await follow(physicalOf(server));
        await until('a base is taken', () => follower.bases.length > 0);
        await caughtUp(server, follower);
        assert.equal((await said()).filter((each) => !each.startsWith('pass')).length, 0);
        await sql(server, 'postgres', 'alter system set max_slot_wal_keep_size = -1', 'select pg_reload_conf()');
        await until('it has no limit', async () =>
          /^unknown: .* can not fill the disk/m.test((await said()).join('\n')),
        );
        await sql(server, 'postgres', 'alter system reset max_slot_wal_keep_size', 'select pg_reload_conf()');
      }
      await until('nobody reads it', async () =>
        /nobody does; .*pg_drop_replication_slot/.test((await said()).join('\n')),
      );
      assert.match((await said(false)).join('\n'), /^fail: no slot fills .*lifeboat_follow: .*follow --drop/, 'left');
      await sql(server, 'postgres', SWITCH, SWITCH, SWITCH);
      assert.match((await said()).join('\n'), /^fail: .*holds 4\d MiB of 64 MiB: more than half/m);
      await forget(server);
      assert.match((await said()).join('\n'), /^fail: .*its log was removed; run lifeboat follow/m);
    });

    test('a standby that is behind the journal is waited for', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, { conf: { wal_keep_size: '1GB' } });
      await sql(server, 'postgres', TABLE);
      const store = await journalStore(ctx);
      await using standby = await startPostgresOn(major, await standbyDir(server, dirs.make('standby')));
      await standby.stop();
      {
        await using follower = await follow(physicalOf(server), { store });
        await sql(server, 'postgres', SOME);
        await caughtUp(server, follower);
      }
      await server.stop();
      await standby.start();
      await using follower = await follow(physicalOf(standby), { store });
      await until('it is told', () => follower.failures.length > 0);
      assert.equal(follower.failures[0]?.code, 'blocked');
      await server.start();
      await sql(server, 'postgres', SOME);
      await caughtUp(server, follower);
    });

    /** Until the rest of a segment, which is zeros, is the last that is stored. To where that ends. */
    async function followToPadding(server: Postgres, store: Store): Promise<string> {
      let isPadding = false;
      await using follower = await follow(physicalOf(server), {
        store,
        feed: ({ append }) => ({
          async append(within, range) {
            while (isPadding) await within.sleep(20);
            await append(within, range);
            isPadding = range.body.every((byte) => byte === 0);
          },
        }),
      });
      await until('a base is taken', () => follower.bases.length > 0);
      await sql(server, 'postgres', SWITCH);
      await until('the rest of a segment is stored', () => isPadding);
      return follower.writer.durable()?.position ?? assert.fail();
    }

    /** So much is written that the server removes what was held. */
    async function forget(server: Postgres): Promise<void> {
      for (let each = 0; each < 8; each += 1) await sql(server, 'postgres', SWITCH, 'checkpoint');
    }
  });
}
