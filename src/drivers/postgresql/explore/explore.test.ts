// Servers that stand at moments of a real one's past.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { unprivilegedUser } from '../../../../test/servers/install.ts';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import { until } from '../../../../test/servers/processes.ts';
import type { Exploring, Replay, ReplayTarget } from '../../../core/component.ts';
import type { Journal, JournalWriter } from '../../../core/journal.ts';
import { liveContext } from '../../../core/testing.ts';
import { replayOf } from '../../../engine/replay.ts';
import { postgresqlDriver } from '../driver.ts';
import { serverIn } from '../physical/live-server.ts';
import { fillWithTablespaces, physicalOf, type TestDirs, testDirs } from '../physical/testing.ts';
import { emptyJournal, KEEPING, type Shipping, shipping, standing } from '../recovery/testing.ts';
import { captureOf, type Login, sql } from '../testing.ts';
import { lsnAt, placeOfLsn, positionAt } from '../wal/positions.ts';
import { controlOf } from './control.ts';

const ROUNDS = 6;

type Captured = Awaited<ReturnType<typeof captureOf>>;
interface Moment {
  readonly n: number;
  readonly at: string;
  readonly lsn: string;
}

async function clientOf(server: Postgres): Promise<pg.Client> {
  const client = new pg.Client({ ...server, database: 'shop', ssl: false });
  await client.connect();
  return client;
}

for (const major of [15, 18] as const) {
  const skip = await missing(`postgres-${major}`);
  describe(`exploring PostgreSQL ${major}`, { skip }, () => {
    const ctx = liveContext();
    const moments: Moment[] = [];
    let dirs: TestDirs;
    let server: Postgres;
    let journal: Journal;
    let writer: JournalWriter;
    let ships: Shipping;
    let base: Captured;
    let made = 0;
    let shutDownAt = 0;

    const replay = async (target: ReplayTarget, of = base): Promise<Replay> => {
      assert.ok(of.capture.journal);
      return await replayOf(ctx, journal, of.capture.journal, target, of.capture.cut);
    };
    const directory = (): string => dirs.absent(`explored ${++made}`);
    /** Ended by the test, whatever comes of that. */
    const explored = async (
      target: ReplayTarget,
      dir = directory(),
      of = base,
    ): Promise<Exploring & AsyncDisposable> => {
      const tablespaces = { '*': dirs.absent(`spaces ${made}`) };
      const settings = { data_directory: dir, tablespaces, bin_dir: server.bin, databases: ['shop'] };
      const { explore } = postgresqlDriver.open(settings);
      assert.ok(explore);
      const exploring = await explore(ctx, { base: of.source, replay: await replay(target, of) });
      return { ...exploring, [Symbol.asyncDispose]: async () => void (await exploring.leave(ctx)) };
    };
    const newest = async (exploring: Exploring): Promise<string | null | undefined> =>
      (await exploring.query(ctx, 'select max(n) from moments')).rows[0]?.[0];
    /** By the network, with the password of then. */
    const login = (exploring: Exploring): Login => {
      const [, port = ''] = /127\.0\.0\.1:(\d+)/.exec(exploring.access().join()) ?? [];
      return { ...server, port: Number(port) };
    };
    const recoveredOn = async (dir: string): Promise<Postgres> => {
      const back = await startPostgresOn(major, dir);
      const recovers = async (): Promise<unknown> =>
        (await sql(back, 'postgres', 'select pg_is_in_recovery() as is'))[0];
      await until('it has recovered', 60_000, async () => !((await recovers()) as { is: boolean }).is);
      return back;
    };
    const moment = (n: number): Moment => {
      const found = moments[n - 1];
      assert.ok(found);
      return found;
    };
    const time = (n: number): ReplayTarget => ({ kind: 'time', at: moment(n).at });
    const mark = async (n: number): Promise<void> => {
      await sql(server, 'shop', `insert into moments select ${n}, md5(g::text) from generate_series(1, 3000) g`);
      moments.push({ n, ...(await standing(server)) });
    };

    before(async () => {
      dirs = testDirs();
      server = await startPostgres(major, { conf: { ...KEEPING, full_page_writes: 'on' } });
      await fillWithTablespaces(server, dirs);
      journal = await emptyJournal(ctx);
      writer = await journal.write(ctx);
      ships = await shipping(ctx, writer, server);
      base = await captureOf(ctx, physicalOf(server), undefined, '');
      await sql(server, 'shop', 'create table moments (n int, t text)', 'create table doomed as select 1 as one');
      const client = await clientOf(server);
      for (let n = 1; n <= ROUNDS; n++) {
        await mark(n);
        if (n === 3) await sql(server, 'postgres', 'checkpoint');
        if (n === 4) await sql(server, 'shop', 'drop table doomed');
        if (n === 5) await client.query('begin; lock table customers');
      }
      await client.query('commit');
      await client.end();
      await mark(7);
      // Its log then has that it ended, and what it was given more of.
      await sql(server, 'postgres', 'alter system set max_connections = 150');
      await server.stop();
      const own = { path: server.dir, owner: unprivilegedUser(), postgres: { dir: server.bin, path: '', major } };
      ({ checkpoint: shutDownAt } = await controlOf(ctx, own));
      await server.start();
      await mark(8);
      await ships.ship();
    });
    after(async () => {
      await writer?.[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
      dirs?.[Symbol.dispose]();
    });

    test('it stands exactly at the target, goes on from there, never back, and takes writes when it is promoted', async () => {
      await using exploring = await explored(time(2));
      const { stand, query, advance, promote } = exploring;
      const first = await stand(ctx);
      assert.ok(first.lastChange !== null && first.lastChange > moment(1).at && first.lastChange <= moment(2).at);
      assert.equal(first.writes, null);
      assert.equal(await newest(exploring), '2', 'what came next is not there');
      await assert.rejects(query(ctx, 'insert into moments values (99)'), { code: 'query-failed' });
      await assert.rejects(query(ctx, "select pg_create_restore_point('here')"), { code: 'query-failed' });
      for (const target of [time(1), { kind: 'position', value: moment(1).lsn }] as const) {
        const back = advance(ctx, await replay(target));
        await assert.rejects(back, { code: 'missing', message: /it never goes back/, hint: /another directory/ });
      }
      assert.deepEqual(await stand(ctx), first, 'nothing has happened');
      await advance(ctx, await replay({ kind: 'position', value: moment(3).lsn }));
      assert.equal(await newest(exploring), '3');
      const fourth = await advance(ctx, await replay(time(4)));
      assert.equal(await newest(exploring), '4');
      assert.ok(fourth.position > first.position);
      const again = await advance(ctx, await replay(time(4)));
      assert.match(again.notes.join(), /nothing in the log between/);
      const { writes } = await promote(ctx);
      assert.equal(writes, 'timeline 2');
      await assert.rejects(query(ctx, 'select nextval(pg_get_serial_sequence($$customers$$, $$id$$))'), {
        message: /read-only transaction/,
      });
      await sql(login(exploring), 'shop', "insert into moments values (50, 'new')");
      assert.equal(await newest(exploring), '50');
      await assert.rejects(advance(ctx, await replay(time(5))), { code: 'usage', message: /ended its recovery/ });
    });

    test('what was dropped just after can be looked at, and what was locked at that moment is told', async () => {
      await using exploring = await explored(time(4));
      const { query, advance } = exploring;
      assert.deepEqual((await query(ctx, 'select * from doomed')).rows, [['1']]);
      await advance(ctx, await replay(time(5)));
      await assert.rejects(query(ctx, 'select * from doomed'), { code: 'query-failed', message: /does not exist/ });
      assert.deepEqual((await query(ctx, 'select count(*) from customers')).columns, ['count']);
      await advance(ctx, await replay(time(6)));
      const locked = query(ctx, 'select count(*) from customers');
      await assert.rejects(locked, { code: 'blocked', hint: /transaction that had not ended .* promotion rolls/ });
    });

    test('what it leaves is a directory on which a server starts as of that moment, and no process', async () => {
      const dir = directory();
      await using exploring = await explored(time(2), dir);
      process.kill(serverIn(dir) ?? assert.fail('there is no server'), 'SIGKILL');
      await until('it has ended', 60_000, async () => exploring.access().length === 0);
      await assert.rejects(exploring.stand(ctx), { code: 'unreachable', message: /no server runs on/ });
      await exploring.advance(ctx, await replay(time(4)));
      assert.equal(await newest(exploring), '4', 'a step starts it again');
      const left = await exploring.leave(ctx);
      assert.deepEqual(left, await exploring.leave(ctx), 'it may be left twice');
      assert.match(left.join('\n'), /comes back to where this one stood.*\n.*pg_ctl -D '?\/.* start/);
      assert.equal(serverIn(dir), null);
      assert.ok(!existsSync(join(dir, 'lifeboat')));
      await using back = await recoveredOn(dir);
      assert.deepEqual(await sql(back, 'shop', 'select max(n) as n from moments'), [{ n: 4 }]);
    });

    test('where the log ends with the end of its server, it can be left and started all the same', async () => {
      const dir = directory();
      await using exploring = await explored({ kind: 'position', value: lsnAt(shutDownAt + 8) }, dir);
      assert.equal(await newest(exploring), '7');
      await exploring.leave(ctx);
      await using back = await recoveredOn(dir);
      assert.deepEqual(await sql(back, 'shop', 'select max(n) as n from moments'), [{ n: 7 }]);
    });

    test('what the primary was given more of meanwhile, it gets as well', async () => {
      await using exploring = await explored(time(8));
      assert.equal(await newest(exploring), '8');
      const { rows } = await exploring.query(ctx, "select current_setting('max_connections')");
      assert.deepEqual(rows, [['150']]);
    });

    test('a target that the log does not have is told, and it stands at the end of that', async () => {
      await using exploring = await explored({ kind: 'name', value: 'never given' });
      assert.match(exploring.restored.warnings.join(), /name never given is not in what is stored/);
      assert.equal(await newest(exploring), '8');
      const idle = await exploring.advance(ctx, await replay({ kind: 'latest' }));
      assert.match(idle.notes.join(), /nothing in the log between/);
    });

    test('where it can let nobody in, it says that it has ended its recovery at the target', async () => {
      const client = await clientOf(server);
      await client.query('begin');
      // More than a server keeps count of, so that a copy can't tell which of them are under way.
      for (let n = 0; n < 80; n++) await client.query(`savepoint s${n}; insert into moments values (${1000 + n})`);
      const later = await captureOf(ctx, physicalOf(server), undefined, '');
      const { at } = await standing(server);
      await client.query('commit');
      await client.end();
      await ships.ship();
      await using exploring = await explored({ kind: 'time', at }, directory(), later);
      assert.match(exploring.restored.warnings.join(), /could let nobody in .* ended its recovery/);
      assert.equal((await exploring.stand(ctx)).writes, 'timeline 2');
      assert.equal(await newest(exploring), '8');
    });

    test('it never changes over to a log that has parted before where it stands', async () => {
      const dir = directory();
      await using promoted = await explored(time(3), dir);
      await promoted.promote(ctx);
      await promoted.leave(ctx);
      await using other = await startPostgresOn(major, dir);
      const [, switched = ''] = /^1\t(\S+)\t/m.exec(readFileSync(join(dir, 'pg_wal/00000002.history'), 'utf8')) ?? [];
      const from = placeOfLsn(switched) ?? 0;
      const parent = { lineage: ships.lineage, position: positionAt(from) };
      await sql(other, 'shop', "insert into moments values (60, 'other')");
      await (await shipping(ctx, writer, other, { timeline: 2, from, parent })).ship();
      const latest = await replay({ kind: 'latest' });
      await using early = await explored(time(2));
      await early.advance(ctx, latest);
      assert.equal(await newest(early), '60', 'it goes through one that parts later');
      await using late = await explored(time(5));
      const over = late.advance(ctx, latest);
      await assert.rejects(over, { code: 'missing', message: /is of timeline 2 at .* server is on 1/ });
      assert.equal(await newest(late), '5');
    });
  });
}
