import assert from 'node:assert/strict';
import { delimiter } from 'node:path';
import { it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { postgresqlDriver } from './driver.ts';
import {
  captureOf,
  createDatabase,
  differences,
  everything,
  ODD_NAMES,
  plainOf,
  quotedName,
  settingsFor,
  sql,
} from './testing.ts';

/** Around the database: what pg_dump leaves to others. */
const PROPERTIES = `
  alter database "all of it" set search_path to public, "Schema ""with"" quotes";
  alter database "all of it" set work_mem to '6MB';
  alter role reader in database "all of it" set work_mem to '9MB';
  alter database "all of it" connection limit 50;
  comment on database "all of it" is 'it''s all';
  grant create on database "all of it" to reader with grant option;
  revoke connect on database "all of it" from public;
`;

for (const [i, major] of postgresMajors.entries()) {
  // Each database takes a second, so each major has some of them.
  const names = ODD_NAMES.filter((_, at) => at % postgresMajors.length === i);

  it(`every kind of object of PostgreSQL ${major} comes back, under odd names`, {
    skip: await missing(`postgres-${major}`),
  }, async () => {
    await using server = await startPostgres(major);
    await using target = await startPostgres(major);
    const ctx = liveContext({ env: { ...process.env, PATH: [server.bin, process.env.PATH].join(delimiter) } });
    await createDatabase(server, 'all of it', everything(major));
    await sql(server, 'postgres', PROPERTIES);
    for (const name of names) {
      await createDatabase(
        server,
        name,
        `create table ${quotedName(name)} (a int); insert into ${quotedName(name)} values (1)`,
      );
    }
    await createDatabase(server, 'no tables', 'drop schema public');
    const point = await captureOf(ctx, settingsFor(server));
    assert.equal(point.capture.totals.databases, names.length + 2);
    assert.deepEqual(point.capture.warnings, []);

    const settings = settingsFor(target);
    const restored = await postgresqlDriver.open(settings).restore(ctx, { base: point.source });
    assert.deepEqual(restored.warnings, []);
    assert.deepEqual(await differences(ctx, point.source, settings), []);
    await assertRolesLogIn(target);
  });

  it(`the plain form of PostgreSQL ${major} brings back as much as its archive`, {
    skip: await missing(`postgres-${major}`),
  }, async () => {
    await using server = await startPostgres(major);
    await using target = await startPostgres(major);
    const ctx = liveContext({ env: { ...process.env, PATH: [server.bin, process.env.PATH].join(delimiter) } });
    // Only a superuser can make event triggers, and SQL text never runs as one.
    const fitting = 'drop event trigger watch';
    await createDatabase(server, 'all of it', everything(major), fitting);
    await sql(server, 'postgres', PROPERTIES);
    const point = await captureOf(ctx, settingsFor(server));
    const plain = await plainOf(ctx, point);
    const settings = settingsFor(target);
    const restored = await postgresqlDriver.open(settings).restore(ctx, { base: plain });
    assert.equal(restored.method, 'sql');
    assert.deepEqual(await differences(ctx, plain, settings), []);
    const passing = "select rolname from pg_roles where rolname like 'lifeboat_restore%'";
    assert.deepEqual(await sql(target, 'postgres', passing), []);
  });
}

/** Roles come back with their passwords. */
async function assertRolesLogIn(target: { host: string; port: number }): Promise<void> {
  const role = { user: 'Owner "Q"', password: "owner's own secret" };
  const rows = await sql({ ...target, ...role }, 'postgres', 'select current_user as name');
  assert.deepEqual(rows, [{ name: role.user }]);
}
