// Following on real servers: what is in the journal is what the server wrote, and the server forgets nothing before.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { startPostgres } from '../../../../test/servers/postgres.ts';
import { liveContext } from '../../../core/testing.ts';
import { openServer } from '../driver.ts';
import { physicalOf } from '../physical/testing.ts';
import { createDatabase, SHOP, settingsFor, sql } from '../testing.ts';
import { placeOf } from './positions.ts';
import {
  assertOnDisk,
  caughtUp,
  clockOf,
  dumpOf,
  endOf,
  follow,
  journalStore,
  piecesOf,
  senders,
  since,
  strayFeed,
  until,
} from './testing.ts';

const KEPT = { conf: { wal_keep_size: '1GB' } };
const MANY = 'create table many as select g, repeat(md5(g::text), 20) as text from generate_series(1, 30000) g';

for (const major of [15, 18] as const) {
  describe(`following PostgreSQL ${major}`, { skip: await missing(`postgres-${major}`) }, () => {
    const ctx = liveContext();

    test('the journal has byte for byte what the server wrote, and a base that joins it', async () => {
      await using server = await startPostgres(major, KEPT);
      await createDatabase(server, 'shop', SHOP);
      await using follower = await follow(physicalOf(server));
      await sql(server, 'shop', MANY, 'select pg_switch_wal()', 'create table after_the_switch ()');
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      const [piece, ...others] = await piecesOf(ctx, follower.journal);
      assert.ok(piece && others.length === 0);
      assert.equal(piece.from % (16 * 1024 * 1024), 0, 'it begins with a segment');
      assert.ok(piece.bytes.length > 2 * 16 * 1024 * 1024);
      assertOnDisk(server, piece);
      assert.match(await dumpOf(ctx, server, piece), /desc: COMMIT/);
      for (const { from, to, at, clock } of piece.ranges) {
        assert.ok(clock && Math.abs(Date.parse(to.at) - Date.parse(at)) < 60_000);
        assert.ok(from.at <= to.at);
      }
      const { source } = follower.writer.lineage() ?? {};
      const [base] = follower.bases;
      assert.deepEqual(base?.source, source);
      assert.ok(base && placeOf(base.from) >= piece.from && base.from < base.to);
      assert.deepEqual(follower.failures, []);
    });

    test('an idle server: what it wrote last is stored without a switch, and a commit follows (fault 32)', async () => {
      await using server = await startPostgres(major, KEPT);
      await using follower = await follow(physicalOf(server));
      await until('a base is taken', () => follower.bases.length > 0);
      await sql(server, 'postgres', 'create table last_of_all ()');
      await caughtUp(server, follower);
      const before = await endOf(server);
      await until('a commit of ours', async () => (await endOf(server)) > before);
      await caughtUp(server, follower);
      const [piece] = await piecesOf(ctx, follower.journal);
      assert.ok(piece);
      assert.notEqual((piece.from + piece.bytes.length) % (16 * 1024 * 1024), 0, 'no segment was closed');
      const lines = (await dumpOf(ctx, server, piece)).split('\n');
      const message = lines.findLastIndex((line) => /LogicalMessage.*prefix "lifeboat"/.test(line));
      assert.ok(lines.slice(message).some((line) => line.includes('desc: COMMIT')));
    });

    test('what comes late has no later time than all that was done by then: no moment is there that is not', async () => {
      await using server = await startPostgres(major, KEPT);
      const store = await journalStore(ctx);
      {
        await using follower = await follow(physicalOf(server), { store });
        await caughtUp(server, follower);
      }
      await sql(server, 'postgres', MANY);
      const [end, at] = [await endOf(server), await clockOf(server)];
      await sql(server, 'postgres', 'insert into many select * from many');
      await using follower = await follow(physicalOf(server), { store });
      await caughtUp(server, follower);
      const ranges = (await piecesOf(ctx, follower.journal)).flatMap((piece) => piece.ranges);
      const early = ranges.filter(({ to }) => to.position < end);
      assert.ok(early.length > 1 && early.every(({ to }) => to.at < at));
      assert.ok((ranges.at(-1)?.to.at ?? '') > at, 'and it catches up');
    });

    test('it goes on where the journal ends, with nothing twice and nothing missing', async () => {
      await using server = await startPostgres(major, KEPT);
      const store = await journalStore(ctx);
      for (const table of ['one', 'two', 'three']) {
        await using follower = await follow(physicalOf(server), { store });
        await sql(server, 'postgres', `create table ${table} ()`);
        await caughtUp(server, follower);
      }
      await server.kill();
      await server.start();
      await using follower = await follow(physicalOf(server), { store });
      await sql(server, 'postgres', 'create table after_the_crash ()');
      await caughtUp(server, follower);
      const [piece, ...others] = await piecesOf(ctx, follower.journal);
      assert.ok(piece && others.length === 0);
      assertOnDisk(server, piece);
      assert.deepEqual(follower.failures, []);
    });

    test('what has come when it is told to stop is stored, too', async () => {
      await using server = await startPostgres(major);
      const follower = await follow(physicalOf(server), {
        feed: ({ append }) => ({ append: async (_stopped, range) => await append(ctx, range) }), // as the engine's lingers
      });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      await sql(server, 'postgres', 'create table last_of_all ()');
      const end = await endOf(server);
      await ctx.sleep(300);
      await follower[Symbol.asyncDispose]();
      assert.ok((follower.writer.durable()?.position ?? '') >= end);
    });

    test('fault 30: the server is told of nothing that the store has not confirmed, though all looks well', async () => {
      await using server = await startPostgres(major, { conf: { wal_sender_timeout: '2s' } });
      let isDown = false;
      await using follower = await follow(physicalOf(server), {
        feed: ({ append }) => ({
          async append(within, range) {
            while (isDown) await within.sleep(20); // the engine's feed waits for the store
            await append(within, range);
          },
        }),
      });
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      isDown = true;
      const durable = follower.writer.durable()?.position ?? '';
      const [before] = await senders(server);
      await sql(server, 'postgres', MANY, 'checkpoint');
      await ctx.sleep(5000); // more than the server waits for an answer
      const [now] = await senders(server);
      assert.ok(now && before && now.pid === before.pid, 'it was answered all the while');
      assert.ok(now.flushed <= durable && now.held <= durable);
      const { end, source } = await openServer(physicalOf(server)).standing(ctx);
      assert.deepEqual(source, follower.writer.lineage()?.source);
      assert.ok(end.position > durable, 'who compares the two sees what is not safe yet');
      assert.equal(follower.writer.durable()?.position, durable);
      isDown = false;
      await caughtUp(server, follower);
      const [after] = await senders(server);
      assert.ok(after && after.held > durable);
      const [piece] = await piecesOf(ctx, follower.journal);
      assert.ok(piece);
      assertOnDisk(server, since(piece, durable));
      assert.deepEqual(follower.failures, []);
    });

    test('what it keeps at the server can be removed, and is not while it is in use', async () => {
      await using server = await startPostgres(major);
      const component = openServer(physicalOf(server, { slot: 'mine' }));
      {
        await using follower = await follow(physicalOf(server, { slot: 'mine' }));
        await caughtUp(server, follower);
        await assert.rejects(component.unfollow(ctx), {
          code: 'blocked',
          message: /slot mine is in use by process \d/,
        });
        const second = openServer(physicalOf(server, { slot: 'mine' }));
        await assert.rejects(second.follow(ctx, await strayFeed()), {
          code: 'blocked',
          hint: /set slot there to another name/,
        });
      }
      await until('nobody uses it', async () => (await senders(server)).length === 0);
      assert.deepEqual(await component.unfollow(ctx), ['slot mine']);
      assert.deepEqual(await component.unfollow(ctx), []);
    });

    test('a role that may replicate needs no other right', async () => {
      await using server = await startPostgres(major);
      await sql(server, 'postgres', "create role clerk login replication password 'x'");
      await using follower = await follow(physicalOf(server, { user: 'clerk', password: 'x' }));
      await until('a base is taken', () => follower.bases.length > 0);
      await caughtUp(server, follower);
      assert.deepEqual(follower.failures, []);
      assert.deepEqual(follower.ctx.logged, []);
    });

    test('settings and servers that can not be followed are told with the next step', async () => {
      await using server = await startPostgres(major, { conf: { wal_level: 'minimal', max_wal_senders: '0' } });
      const refused = async (settings: unknown, hint: RegExp): Promise<void> =>
        await assert.rejects(openServer(settings).follow(ctx, await strayFeed()), { code: 'settings-invalid', hint });
      await refused(settingsFor(server), /capture: \[physical\]/);
      await refused(physicalOf(server), /wal_level = replica/);
    });
  });
}
