// Segments that a server hands over by itself: on real ones, whose archiver waits for ever, so that all lies there.

import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import type { PushedLog } from '../../../core/driver.ts';
import { liveContext } from '../../../core/testing.ts';
import { openServer } from '../driver.ts';
import { physicalOf, testDirs } from '../physical/testing.ts';
import { sql } from '../testing.ts';
import { historyIn } from './history.ts';
import { placeOf } from './positions.ts';
import { pushLogFile } from './push.ts';
import {
  assertOnDisk,
  COMPONENT,
  caughtUp,
  copiedAside,
  endOf,
  follow,
  journalStore,
  piecesOf,
  standbyDir,
  until,
} from './testing.ts';

const ARCHIVING = { conf: { archive_mode: 'on', archive_command: 'false', wal_keep_size: '1GB' } };
const SWITCH = "select pg_logical_emit_message(true, 'x', repeat('y', 1000)), pg_switch_wal()";

for (const major of [15, 18] as const) {
  describe(`archiving the log of PostgreSQL ${major}`, { skip: await missing(`postgres-${major}`) }, () => {
    const ctx = liveContext();

    test('each segment is stored once; one that was passed over is found beside it', async () => {
      await using server = await startPostgres(major, ARCHIVING);
      const journal = (await journalStore(ctx)).journal(COMPONENT);
      await sql(server, 'postgres', SWITCH, SWITCH, SWITCH);
      const [first = '', second = '', third = ''] = ready(server);
      const outcome = async (path: string): Promise<string> => (await pushLogFile(ctx, journal, path)).outcome;
      assert.deepEqual(await Promise.all([first].map(outcome)), ['stored']);
      assert.equal(await outcome(third), 'stored');
      for (const path of [first, second, third]) assert.equal(await outcome(path), 'was there');
      const [piece, ...others] = await piecesOf(ctx, journal);
      assert.ok(piece && others.length === 0);
      assert.equal(piece.bytes.length, 3 * 16 * 1024 * 1024);
      assertOnDisk(server, piece);
      const label = join(server.dir, 'pg_wal', `${basename(first)}.00000028.backup`);
      assert.equal(await outcome(label), 'passed over');
    });

    test('doctor tells of an archive_command of ours that fails, as the disk of the server fills up', async () => {
      const command = 'test -e %p.taken # lifeboat wal-push';
      await using server = await startPostgres(major, { conf: { archive_mode: 'on', archive_command: command } });
      const asked = async (isFollowed: boolean, ...stores: string[]): Promise<string[]> => {
        const findings = await openServer(physicalOf(server)).kept(ctx, { isFollowed, stores });
        return findings.filter(({ check }) => check.includes('archives')).map((each) => JSON.stringify(each));
      };
      const told = (): Promise<string[]> => asked(false, 'local');
      assert.match((await told()).join(), /"pass"/);
      const [, alone = ''] = await asked(false, 'local', 'offsite');
      assert.match(alone, /"unknown".* in local alone.*lifeboat copy --from local --to offsite often enough/);
      assert.match((await asked(true, 'local', 'offsite'))[1] ?? '', /"pass","detail":"lifeboat follow copies it"/);
      await sql(server, 'postgres', SWITCH);
      await until('it has failed', async () => (await told()).join().includes('"fail"'));
      assert.match((await told()).join(), /0000000100000000000000\d\d was not, at 20.* must be able to read/);
      for (const path of ready(server)) writeFileSync(`${path}.taken`, '');
      await until('it was taken', async () => (await told()).join().includes('"pass"'));
      await sql(server, 'postgres', "alter system set archive_command = 'false'", 'select pg_reload_conf()');
      await until("somebody else's is not ours to judge", async () => (await told()).length === 0);
    });

    test('fault 33: a segment of the same name with other bytes is refused, and so is what is no segment', async () => {
      await using server = await startPostgres(major, ARCHIVING);
      const journal = (await journalStore(ctx)).journal(COMPONENT);
      await sql(server, 'postgres', SWITCH, SWITCH);
      const [first = '', second = ''] = ready(server);
      await pushLogFile(ctx, journal, first);
      const changed = copied(first);
      const bytes = readFileSync(changed);
      bytes[bytes.length - 1] = 1;
      writeFileSync(changed, bytes);
      const refused = async (path: string, code: string): Promise<void> =>
        await assert.rejects(pushLogFile(ctx, journal, path), { code });
      await assert.rejects(pushLogFile(ctx, journal, changed), { code: 'different', message: /two primaries\?/ });
      await refused(copied(first, basename(second)), 'malformed');
      const empty = copied(second);
      writeFileSync(empty, '');
      await refused(empty, 'malformed');
      await refused(join(server.dir, 'PG_VERSION'), 'usage');
      await refused(`${second.slice(0, -1)}F`, 'missing');
    });

    test('fault 25: a segment that is gone is noted as a gap, and another lineage begins', async () => {
      await using server = await startPostgres(major, ARCHIVING);
      const journal = (await journalStore(ctx)).journal(COMPONENT);
      await sql(server, 'postgres', SWITCH, SWITCH, SWITCH);
      const [first = '', second = '', third = ''] = ready(server);
      for (const path of [first, third]) await pushLogFile(ctx, journal, copied(path));
      const told = await Array.fromAsync(journal.stretches(ctx), ({ lineage, gap }) => [Number(lineage.id), gap]);
      assert.deepEqual(told, [
        [1, null],
        [1, 'the server has not handed over the segments between, and has removed them'],
        [2, null],
      ]);
      assert.equal((await pushLogFile(ctx, journal, first)).outcome, 'was there');
      assert.equal((await pushLogFile(ctx, journal, second)).outcome, 'passed over', 'it is a gap by now');
    });

    test('fault 33: a segment of a copy is refused where it does not go on from the last one that is stored', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, ARCHIVING);
      const journal = (await journalStore(ctx)).journal(COMPONENT);
      await copiedAside(server, dirs.make('copy'));
      await sql(server, 'postgres', 'create table on_the_server ()', SWITCH, SWITCH);
      const [first = '', second = '', third = ''] = ready(server);
      await using copy = await startPostgresOn(major, dirs.absent('copy'));
      await sql(copy, 'postgres', 'create table more (i int, t text)', SWITCH, SWITCH, SWITCH);
      const [, , foreign = '', next = ''] = ready(copy);
      for (const path of [first, second]) assert.equal((await pushLogFile(ctx, journal, path)).outcome, 'stored');
      assert.equal(basename(foreign), basename(third));
      for (const path of [foreign, next]) {
        const message = /does not go on from what the journal has.*two primaries\?/;
        await assert.rejects(pushLogFile(ctx, journal, path), { code: 'different', message }, path);
      }
      assert.deepEqual(await pushLogFile(ctx, journal, copied(third)), { outcome: 'stored', why: null });
      const [piece, ...others] = await piecesOf(ctx, journal);
      assert.ok(piece && others.length === 0);
      assertOnDisk(server, piece);
    });

    test('fault 33: a copy that went on by itself and was promoted begins a log of its own', async () => {
      using dirs = testDirs();
      await using server = await startPostgres(major, ARCHIVING);
      await copiedAside(server, dirs.make('copy'));
      await sql(server, 'postgres', 'create table on_the_server ()', SWITCH);
      await using copy = await startPostgresOn(major, dirs.absent('copy'));
      await sql(copy, 'postgres', 'create table more (i int, t text)', SWITCH, 'create table last ()');
      await copy.stop();
      writeFileSync(join(copy.dir, 'standby.signal'), '');
      await copy.start();
      await sql(copy, 'postgres', 'select pg_promote()', SWITCH, SWITCH);
      const [, second = ''] = ready(server);
      for (const stored of [ready(server), [second]]) {
        const journal = (await journalStore(ctx)).journal(COMPONENT);
        for (const path of stored) await pushLogFile(ctx, journal, path);
        const own = ready(copy).filter((path) => !basename(path).startsWith('00000001'));
        for (const path of own) await pushLogFile(ctx, journal, path);
        const [first, after, ...others] = await Array.fromAsync(journal.lineages(ctx));
        assert.ok(first && after && others.length === 0);
        assert.equal(after.parent, null);
        assert.match(after.why, /does not come from the log of 1 that is stored/);
        const pieces = await piecesOf(ctx, journal);
        assert.equal(pieces[0]?.bytes.length, stored.length * 16 * 1024 * 1024);
        assertOnDisk(copy, pieces[1] ?? assert.fail());
      }
    });

    test('what is followed and what is archived is one log', async () => {
      await using server = await startPostgres(major, ARCHIVING);
      const store = await journalStore(ctx);
      const journal = store.journal(COMPONENT);
      {
        await using follower = await follow(physicalOf(server), { store });
        await until('a base is taken', () => follower.bases.length > 0);
        await caughtUp(server, follower);
      }
      await sql(server, 'postgres', SWITCH, SWITCH);
      for (const path of ready(server).slice(-2))
        assert.equal((await pushLogFile(ctx, journal, path)).outcome, 'stored');
      await using follower = await follow(physicalOf(server), { store });
      await sql(server, 'postgres', SWITCH);
      const last = ready(server).at(-1) ?? '';
      assert.deepEqual(await pushLogFile(ctx, journal, last), { outcome: 'was there', why: null });
      await caughtUp(server, follower);
      const [piece, ...others] = await piecesOf(ctx, journal);
      assert.ok(piece && others.length === 0);
      assertOnDisk(server, piece);
      assert.deepEqual(follower.failures, []);
    });

    test('a standby takes over: its history, the .partial and what follows come in the order of the server', async () => {
      using dirs = testDirs();
      await using primary = await startPostgres(major, ARCHIVING);
      const store = await journalStore(ctx);
      const journal = store.journal(COMPONENT);
      await using standby = await startPostgresOn(major, await standbyDir(primary, dirs.make('standby')));
      await sql(primary, 'postgres', SWITCH, 'create table in_the_partial ()');
      for (const path of ready(primary)) await pushLogFile(ctx, journal, path);
      const end = await endOf(primary);
      await until('the standby has it', async () => {
        const query = `select pg_last_wal_receive_lsn() >= '0/0'::pg_lsn + ${placeOf(end)} as has`;
        return ((await sql(standby, 'postgres', query)) as { has: boolean }[])[0]?.has === true;
      });
      await primary.kill();
      await sql(standby, 'postgres', 'select pg_promote()', SWITCH, SWITCH);
      // Where the .partial comes first, it is stored up to where the history says that it ends.
      const other = (await journalStore(ctx)).journal(COMPONENT);
      const partial = ready(standby).find((path) => path.endsWith('.partial')) ?? assert.fail();
      for (const path of ready(primary)) await pushLogFile(ctx, other, path);
      assert.equal((await pushLogFile(ctx, other, partial)).outcome, 'stored');
      const told = new Map<string, PushedLog['outcome']>();
      for (const path of ready(standby)) told.set(path, (await pushLogFile(ctx, journal, path)).outcome);
      assert.deepEqual([...told.values()].slice(0, 3), ['stored', 'was there', 'stored']);
      assert.equal(told.get(partial), 'was there', 'what was missing of the old timeline lay beside its history');
      const [first, second, ...others] = await piecesOf(ctx, journal);
      assert.ok(first && second && others.length === 0);
      assert.equal(first.from + first.bytes.length, second.from);
      assert.deepEqual((await piecesOf(ctx, other))[0]?.bytes, first.bytes);
      assertOnDisk(standby, second);
      const lineages = await Array.fromAsync(journal.lineages(ctx));
      assert.equal(lineages[1]?.parent?.lineage, lineages[0]?.id);
      assert.match(historyIn(lineages[1]?.detail) ?? '', /^1\t0\//);
    });

    /** What waits to be archived, in the order in which the server does it. */
    function ready(server: Postgres): string[] {
      const folder = join(server.dir, 'pg_wal');
      const names = readdirSync(join(folder, 'archive_status')).flatMap(
        (name) => /^(.*)\.ready$/.exec(name)?.[1] ?? [],
      );
      const isHistory = (name: string): boolean => name.endsWith('.history');
      const inOrder = [...names.filter(isHistory).sort(), ...names.filter((name) => !isHistory(name)).sort()];
      return inOrder.map((name) => join(folder, name));
    }
    function copied(path: string, name = basename(path)): string {
      const copy = join(mkdtempSync(join(ctx.scratch, 'archive-')), name);
      copyFileSync(path, copy);
      return copy;
    }
  });
}
