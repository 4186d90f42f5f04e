import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { openServer } from './driver.ts';
import { serverOf } from './settings.ts';
import { dropOldDatabases } from './stage.ts';
import { captureOf, createDatabase, differences, settingsFor, sql } from './testing.ts';

const ctx = liveContext();

for (const major of postgresMajors) {
  it(`in place: a swap that is killed half-way on PostgreSQL ${major} has left every name its database`, {
    skip: await missing(`postgres-${major}`),
  }, async () => {
    await using server = await startPostgres(major);
    await createDatabase(server, 'one', 'create table t as select 1 as a');
    await createDatabase(server, 'two', 'create table t as select 2 as a');
    const settings = settingsFor(server, { databases: ['one', 'two'] });
    const { source } = await captureOf(ctx, settings);
    await sql(server, 'one', 'update t set a = 7');
    const id = '2026-01-01-000000';
    await using staged = await openServer(settings).stage(ctx, { base: source }, id);
    // Somebody who looks at the second one holds up its rename, when the first ones are done.
    const { host, port, user, password } = server;
    const looking = new pg.Client({ host, port, user, password, database: `two__lifeboat_${id}` });
    looking.on('error', () => undefined);
    await looking.connect();
    const killed = assert.rejects(staged.publish(ctx, { terminateConnections: true }), { code: 'unreachable' });
    const renaming = `select pid from pg_stat_activity where query like 'alter database "two__lifeboat_${id}" rename%'`;
    const deadline = Date.now() + 60_000;
    while ((await sql(server, 'postgres', renaming)).length === 0) assert.ok(Date.now() < deadline, 'no rename');
    await sql(server, 'postgres', `select pg_terminate_backend(pid) from (${renaming}) r`);
    await killed;
    assert.deepEqual(await sql(server, 'one', 'select a from t'), [{ a: 7 }]);
    assert.deepEqual(await sql(server, 'two', 'select a from t'), [{ a: 2 }]);
    await looking.end();
    const { keptAs } = await staged.publish(ctx, { terminateConnections: true });
    assert.equal(keptAs.length, 2);
    assert.deepEqual(await differences(ctx, source, settings), []);
  });
}

it('in place: sessions that come back at once do not keep the swap from ending', {
  skip: await missing('postgres-16'),
}, async () => {
  await using server = await startPostgres(16);
  await createDatabase(server, 'busy', 'create table t as select 1 as a');
  const settings = settingsFor(server, { databases: ['busy'] });
  const { source } = await captureOf(ctx, settings);
  await using staged = await openServer(settings).stage(ctx, { base: source }, '2026-01-01-000000');
  let over = false;
  const returning = async (): Promise<void> => {
    while (!over) await sql(server, 'busy', 'select pg_sleep(1)').catch(() => undefined); // ended, or not let in
  };
  const sessions = Array.from({ length: 5 }, returning);
  const { keptAs } = await staged.publish(ctx, { terminateConnections: true });
  over = true;
  await Promise.all(sessions);
  assert.equal(keptAs.length, 1);
  assert.deepEqual(await differences(ctx, source, settings), []);
});

it('in place: who may not make or rename databases is told so before anything is restored', {
  skip: await missing('postgres-16'),
}, async () => {
  await using server = await startPostgres(16);
  await createDatabase(server, 'shop', 'create table t as select 1 as a');
  const { source } = await captureOf(ctx, settingsFor(server, { databases: ['shop'] }));
  await sql(server, 'postgres', "create role clerk login password 'clerk'", 'alter database shop owner to clerk');
  const clerk = openServer(settingsFor(server, { databases: ['shop'], user: 'clerk', password: 'clerk' }));
  const stage = async () => await clerk.stage(ctx, { base: source }, '2026-01-01-000000');
  await assert.rejects(stage(), { code: 'privileges', message: /clerk may not create databases/, hint: /createdb/ });
  await sql(server, 'postgres', 'alter role clerk createdb', 'alter database shop owner to postgres');
  await assert.rejects(stage(), { code: 'privileges', message: /clerk does not own shop/ });
});

describe('in place on PostgreSQL 16', { skip: await missing('postgres-16') }, () => {
  let server: Postgres;
  before(async () => {
    server = await startPostgres(16);
  });
  after(async () => await server?.[Symbol.asyncDispose]());
  const published = async (name: string): Promise<readonly string[]> => {
    const settings = settingsFor(server, { databases: [name] });
    const { source } = await captureOf(ctx, settings);
    await using staged = await openServer(settings).stage(ctx, { base: source }, '2026-01-01-000000');
    return (await staged.publish(ctx, { terminateConnections: true })).keptAs;
  };

  it('who follows the changes of a database is ended like every other session', async () => {
    await createDatabase(server, 'followed', 'create table t as select 1 as a');
    const { host, port, user, password } = server;
    const following = { host, port, user, password, database: 'followed', replication: 'database' };
    const follower = new pg.Client(following);
    follower.on('error', () => undefined);
    await follower.connect();
    assert.equal((await published('followed')).length, 1);
    await follower.end();
  });

  it('two restores in one second keep both of the databases that they replace', async () => {
    await createDatabase(server, 'twice', 'create table t as select 1 as a');
    const settings = settingsFor(server, { databases: ['twice'] });
    const { source } = await captureOf(ctx, settings);
    const at = new Date('2026-11-23T04:29:02.500Z');
    const kept: string[] = [];
    for (let n = 0; n < 2; n++) {
      await using staged = await openServer(settings).stage(ctx, { base: source }, '2026-01-01-000000');
      const within = liveContext({ now: () => at });
      kept.push(...(await staged.publish(within, { terminateConnections: true })).keptAs);
    }
    assert.deepEqual(kept, ['twice__lifeboat_old_2026-11-23-042902', 'twice__lifeboat_old_2026-11-23-042903']);
    assert.deepEqual((await dropOldDatabases(ctx, serverOf(settings))).toSorted(), kept);
  });

  it('what was kept of a database with a long name is dropped when that is asked for', async () => {
    const name = `${'long '.repeat(9)}ß`;
    await createDatabase(server, name, 'create table t as select 1 as a');
    const kept = await published(name);
    assert.deepEqual(await dropOldDatabases(ctx, serverOf(settingsFor(server, { databases: ['other'] }))), []);
    assert.deepEqual(await dropOldDatabases(ctx, serverOf(settingsFor(server, { databases: [name] }))), kept);
  });
});
