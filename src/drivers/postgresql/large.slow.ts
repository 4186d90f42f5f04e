// What takes its time: very many tables, and values as large as they get.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { postgresqlDriver } from './driver.ts';
import { captureOf, createDatabase, differences, settingsFor, sql } from './testing.ts';

// The oldest and the newest: each takes a minute and a half.
for (const major of [15, 18] as const) {
  const skip = await missing(`postgres-${major}`);

  it(`10 000 tables of PostgreSQL ${major} come back`, { skip }, async () => {
    // pg_dump locks all tables and all sequences at once; by default there is room for a third of them.
    await using server = await startPostgres(major, { conf: { max_locks_per_transaction: '512' } });
    await using target = await startPostgres(major);
    const ctx = liveContext();
    await createDatabase(server, 'many');
    for (let from = 0; from < 10_000; from += 1000) {
      await sql(
        server,
        'many',
        `do $$ begin for i in ${from}..${from + 999} loop
          execute format('create table t%s (id serial primary key, t text); insert into t%s (t) values (%s)', i, i, i);
        end loop; end $$`,
      );
    }
    const { source, capture } = await captureOf(ctx, settingsFor(server, { databases: ['many'] }));
    assert.deepEqual([capture.totals.tables, capture.totals.rows], [10_000, 10_000]);
    const settings = settingsFor(target, { databases: ['many'] });
    await postgresqlDriver.open(settings).restore(ctx, { base: source });
    assert.deepEqual(await differences(ctx, source, settings), []);
  });
}

for (const major of [15, 18] as const) {
  const skip = await missing(`postgres-${major}`);

  it(`a text of 900 MB of PostgreSQL ${major} comes back`, { skip }, async () => {
    await using server = await startPostgres(major);
    await using target = await startPostgres(major);
    const ctx = liveContext();
    const long = "insert into long values (1, repeat('0123456789abcdef', 56250000)), (2, 'short')";
    await createDatabase(server, 'long', 'create table long (id int primary key, t text, other text)', long);
    const { source, capture } = await captureOf(ctx, settingsFor(server, { databases: ['long'] }));
    assert.equal(capture.totals.rows, 2);
    const settings = settingsFor(target, { databases: ['long'] });
    await postgresqlDriver.open(settings).restore(ctx, { base: source });
    assert.deepEqual(await differences(ctx, source, settings), []);
    await sql(target, 'long', "update long set t = overlay(t placing 'X' from 800000000) where id = 1");
    assert.equal((await differences(ctx, source, settings)).length, 1, 'one letter of it is seen');
  });

  it(`a bytea of 600 MB of PostgreSQL ${major} can not be dumped, which is told beforehand`, { skip }, async () => {
    await using server = await startPostgres(major);
    const ctx = liveContext();
    const fill =
      "insert into \"Blobs\" values (1, decode(repeat('00ff', 150000000), 'hex') || decode(repeat('00ff', 150000000), 'hex'))";
    await createDatabase(server, 'blobs', 'create table "Blobs" (id int, b bytea)', fill);
    const settings = settingsFor(server, { databases: ['blobs'] });
    const { findings } = await postgresqlDriver.open(settings).probe(ctx);
    const finding = findings.find(({ check }) => check === 'every row of blobs can be dumped');
    assert.equal(finding?.verdict, 'fail');
    assert.match(finding.detail, /public\."Blobs"/);
    await assert.rejects(captureOf(ctx, settings), { code: 'value-too-large', message: /table Blobs/ });
  });
}
