// What keeps a server from telling what has changed, and what is wrong with the earlier point.

import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import { Failure } from '../../../core/errors.ts';
import type { Source } from '../../../core/model.ts';
import { liveContext, memoryParts } from '../../../core/testing.ts';
import { postgresqlDriver } from '../driver.ts';
import { captureOf, createDatabase, SHOP, sql } from '../testing.ts';
import { captureAfter, differencesIn, physicalOf, testDirs } from './testing.ts';

const MAJOR = 17;
const skip = await missing(`postgres-${MAJOR}`);
describe('an incremental base backup and what goes wrong', { skip }, () => {
  const ctx = liveContext();
  let server: Postgres;
  let first: Source;
  before(async () => {
    server = await startPostgres(MAJOR, { conf: { summarize_wal: 'on', autovacuum: 'off' }, checksums: true });
    await createDatabase(server, 'shop', SHOP, 'checkpoint');
    ({ source: first } = await captureOf(ctx, physicalOf(server)));
    await sql(server, 'shop', 'update customers set score = 1 where id = 7');
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  /** All of it was read, and it is whole. */
  async function isFull(earlier: Source, more: object = {}, on = server): Promise<readonly string[]> {
    using dirs = testDirs();
    const { source, capture, kept } = await captureAfter(ctx, physicalOf(on, { ...more }), earlier);
    assert.deepEqual(kept, []);
    assert.equal(capture.totals.sent_bytes, undefined);
    const target = postgresqlDriver.open({ data_directory: dirs.absent('full'), bin_dir: on.bin });
    await target.restore(ctx, { base: source });
    assert.deepEqual(await differencesIn(ctx, source, target), []);
    return capture.warnings;
  }

  test('where it is off all of it is read, and so it is after a point of dumps alone', async () => {
    assert.deepEqual(await isFull(first, { incremental: 'off' }), []);
    const { source: dumps } = await captureOf(ctx, physicalOf(server, { capture: ['logical'] }));
    assert.deepEqual(await isFull(dumps), []);
    await using silent = await startPostgres(MAJOR);
    const { source } = await captureOf(ctx, physicalOf(silent));
    assert.deepEqual(await isFull(source, {}, silent), []);
  });

  test('where the server has not noted all that changed since, all of it is read, and the reason is told', async () => {
    await using late = await startPostgres(MAJOR, { conf: { summarize_wal: 'on', autovacuum: 'off' } });
    const { source } = await captureOf(ctx, physicalOf(late));
    await sql(late, 'postgres', 'create table t as select 1 as one');
    const noted = 'select from pg_available_wal_summaries() where end_lsn >= ';
    const [row] = await sql(late, 'postgres', 'select pg_current_wal_lsn()::text as lsn');
    await sql(late, 'postgres', 'checkpoint');
    while ((await sql(late, 'postgres', `${noted} '${(row as { lsn: string }).lsn}'`)).length === 0)
      await ctx.sleep(20);
    const notes = join(late.dir, 'pg_wal/summaries');
    for (const name of readdirSync(notes)) rmSync(join(notes, name));
    const warnings = await isFull(source, {}, late);
    assert.match(warnings.join(), /^all of it was read, not what changed alone: .*WAL summaries are required/);
  });

  test('fault 33: a server that was restored is not told from a point that it never was in', async () => {
    using dirs = testDirs();
    await using origin = await startPostgres(MAJOR, { conf: { summarize_wal: 'on', autovacuum: 'off' } });
    await sql(origin, 'postgres', 'create table t as select g, 1 as n from generate_series(1, 20000) g', 'checkpoint');
    const { source: older } = await captureOf(ctx, physicalOf(origin));
    await sql(origin, 'postgres', 'update t set n = 2 where g % 100 = 1', 'checkpoint');
    const { source: newer, kept } = await captureAfter(ctx, physicalOf(origin), older);
    assert.ok(kept.length > 100);
    const path = dirs.absent('restored');
    await postgresqlDriver.open({ data_directory: path, bin_dir: origin.bin }).restore(ctx, { base: older });
    await using restored = await startPostgresOn(MAJOR, path);
    // Beyond the newer point by its numbers, and by notes of its own.
    await sql(restored, 'postgres', 'update t set n = 3 where g % 100 = 2');
    for (let at = 0; at < 4; at++) {
      await sql(restored, 'postgres', 'create table if not exists u as select 1 as one', 'select pg_switch_wal()');
      await sql(restored, 'postgres', 'insert into u values (1)', 'checkpoint');
    }
    assert.match((await isFull(newer, {}, restored)).join(), /all of it was read, .*was restored since/);
  });

  test('what tells that a server lived through a point holds no log, and goes when the next but one is there', async () => {
    await using steady = await startPostgres(MAJOR, { conf: { summarize_wal: 'on' } });
    const slots = async (): Promise<number> => {
      const rows = await sql(steady, 'postgres', 'select restart_lsn as held from pg_replication_slots');
      assert.ok(rows.every((row) => (row as { held: unknown }).held === null));
      return rows.length;
    };
    let { source } = await captureOf(ctx, physicalOf(steady));
    for (let at = 0; at < 3; at++) {
      const next = await captureAfter(ctx, physicalOf(steady), source);
      assert.ok(next.kept.length > 100);
      assert.equal(await slots(), 2);
      source = next.source;
    }
    for (let at = 0; at < 8; at++) await captureOf(ctx, physicalOf(steady));
    assert.equal(await slots(), 6, 'of points that nobody goes on from the newest stay');

    const component = postgresqlDriver.open(physicalOf(steady));
    const dropped = (await component.unfollow?.(ctx)) ?? [];
    assert.equal(dropped.length, 6);
    assert.ok(dropped.every((each) => /^slot lifeboat_since_\w+$/.test(each)));
    assert.deepEqual([await slots(), await component.unfollow?.(ctx)], [0, []]);
    assert.match((await isFull(source, {}, steady)).join(), /all of it was read, .*or its slots were dropped/);
  });

  test('without a free slot the next capture reads all, and both say so', async () => {
    await using taken = await startPostgres(MAJOR, { conf: { summarize_wal: 'on', max_replication_slots: '1' } });
    const all = /the next capture will read all of the server: .*slots are in use/;
    const { source, capture } = await captureOf(ctx, physicalOf(taken));
    assert.match(capture.warnings.join(), all);
    assert.match((await isFull(source, {}, taken)).join(), all);
  });

  test('after a point of another server all of it is read, and the reason is told', async () => {
    await using other = await startPostgres(MAJOR, { conf: { summarize_wal: 'on' }, ownIdentity: true });
    assert.match((await isFull(first, {}, other)).join(), /all of it was read, .*the server is not the one/);
  });

  test('doctor tells where a server does not note what changes, and what noting it would save', async () => {
    const told = async (on: Postgres, more: object = {}): Promise<string | undefined> => {
      const { findings } = await postgresqlDriver.open(physicalOf(on, { ...more })).probe(ctx);
      const found = findings.find(({ check }) => check === 'a capture reads what changed alone');
      return found && [found.verdict, found.detail, found.hint].join('; ');
    };
    assert.equal(await told(server), 'pass; summarize_wal is on; ');
    assert.equal(await told(server, { incremental: 'off' }), undefined);
    await using silent = await startPostgres(MAJOR);
    const off = /^pass; summarize_wal is off: each capture reads all \d\d MiB, also .*; alter system set summarize_wal/;
    assert.match((await told(silent)) ?? '', off);
    await sql(silent, 'postgres', "create role clerk login replication password 'x'");
    assert.match((await told(silent, { user: 'clerk', password: 'x' })) ?? '', /reads all (\d+ MiB|of it), also/);
  });

  test('what is missing or damaged in the earlier point is told as that, so that the capture is repeated without it', async () => {
    const without: Source = {
      ...first,
      part: async (c, name) => {
        if (name.startsWith('physical/data/base/')) throw new Failure('missing', 'it was pruned');
        return await first.part(c, name);
      },
    };
    await assert.rejects(captureAfter(ctx, physicalOf(server), without), { code: 'missing' });
    const damaged: Source = {
      ...first,
      async *get(c, name, range) {
        if (range) throw new Failure('checksum', 'it was changed');
        yield* first.get(c, name, range);
      },
    };
    await assert.rejects(captureAfter(ctx, physicalOf(server), damaged), { code: 'checksum' });
    const untold: Source = {
      ...first,
      async *get(c, name, range) {
        const chunks = first.get(c, name, range);
        if (name !== 'inventory.ndjson') return yield* chunks;
        for await (const chunk of chunks) {
          yield Buffer.from(Buffer.from(chunk).toString('latin1').replaceAll('"sha256:', '"md5sum:'), 'latin1');
        }
      },
    };
    const refused = { code: 'malformed', message: /did not change, and the earlier point does not tell its digest/ };
    await assert.rejects(captureAfter(ctx, physicalOf(server), untold), refused);
  });

  test('a store that refuses what is kept fails the capture with its own reason', async () => {
    const refusal = new RangeError('the store is full');
    const refusing = { ...memoryParts().sink, keep: () => Promise.reject(refusal) };
    const capturing = postgresqlDriver.open(physicalOf(server)).capture(ctx, refusing, first);
    await assert.rejects(capturing, (error) => error === refusal);
  });

  test('fault 36: a page that was damaged since and not written is not read, and the point has the good one', async () => {
    await using aging = await startPostgres(MAJOR, {
      conf: { summarize_wal: 'on', autovacuum: 'off' },
      checksums: true,
    });
    await sql(aging, 'postgres', 'create table cold as select g from generate_series(1, 5000) g', 'checkpoint');
    await sql(aging, 'postgres', 'create table warm as select g from generate_series(1, 5000) g', 'checkpoint');
    const { source } = await captureOf(ctx, physicalOf(aging));
    const path = async (table: string): Promise<string> => {
      const [row] = await sql(aging, 'postgres', `select pg_relation_filepath('${table}') as path`);
      return (row as { path: string }).path;
    };
    const [cold, warm] = [await path('cold'), await path('warm')];
    damage(join(aging.dir, cold));
    const { source: next, kept } = await captureAfter(ctx, physicalOf(aging), source);
    assert.ok(kept.includes(`physical/data/${cold}`));
    const digest = async (point: Source): Promise<string> => (await point.part(ctx, `physical/data/${cold}`)).digest;
    assert.equal(await digest(next), await digest(source));
    // A page that is read, because it was written, is found.
    await sql(aging, 'postgres', 'update warm set g = g + 1 where g = 1', 'checkpoint');
    damage(join(aging.dir, warm));
    await assert.rejects(captureAfter(ctx, physicalOf(aging), source), { code: 'source-damaged', message: /block 0/ });
    await assert.rejects(captureOf(ctx, physicalOf(aging)), { code: 'source-damaged' });
  });
});

/** Of the first page, on the disk alone. */
function damage(path: string): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.alloc(8, 0x5a), 0, 8, 4000);
  closeSync(fd);
}
