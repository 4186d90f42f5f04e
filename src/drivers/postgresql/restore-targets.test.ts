import assert from 'node:assert/strict';
import { chmod, chown, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import type { RestoreOptions, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { postgresqlDriver } from './driver.ts';
import { captureOf, createDatabase, differences, settingsFor, sql } from './testing.ts';

describe('what the target of a restore of postgresql is like', { skip: await missing('postgres-16') }, () => {
  let server: Postgres;
  let target: Postgres;
  let dir: string;
  before(async () => {
    [server, target] = await Promise.all([startPostgres(16), startPostgres(16)]);
    dir = await mkdtemp(join(tmpdir(), 'lifeboat-pg-'));
    await createDatabase(server, 'shop', 'create table t as select 1 as a');
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await target?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const ctx = liveContext();
  const captured = async (name: string) => (await captureOf(ctx, settingsFor(server, { databases: [name] }))).source;
  const into = (name: string, more: Record<string, unknown> = {}) =>
    settingsFor(target, { databases: [name], ...more });
  const restore = async (settings: unknown, base: Source, options?: RestoreOptions) =>
    await postgresqlDriver.open(settings).restore(ctx, { base }, options);

  /** A directory with a pg_restore of our own making. */
  async function pretending(script: string): Promise<string> {
    const bin = await mkdtemp(join(dir, 'bin-'));
    const version = `[ "$1" = --version ] && exec ${target.bin}/pg_restore --version`;
    await writeFile(join(bin, 'pg_restore'), `#!/bin/bash\n${version}\n${script}\n`);
    await chmod(join(bin, 'pg_restore'), 0o755);
    return bin;
  }

  const excusable = 'pg_restore: error: ERROR:  unrecognized configuration parameter "transaction_timeout"';
  it('why a pg_restore failed is told without what a newer one says to every server', async () => {
    const why = 'pg_restore: error: the server closed the connection';
    const settings = into('closed', { bin_dir: await pretending(`echo '${excusable}\n${why}' >&2; exit 1`) });
    await assert.rejects(restore(settings, await captured('shop')), { code: 'unreachable', message: /server closed/ });
  });

  it('why a statement was refused is told without the statement, which may be long and have passwords in it', async () => {
    await createDatabase(target, 'fixed');
    await sql(target, 'postgres', 'alter database fixed set default_transaction_read_only = on');
    await assert.rejects(restore(into('fixed'), await captured('shop')), {
      code: 'program-failed',
      message: /database fixed: pg_restore: error: .* cannot execute CREATE TABLE in a read-only transaction$/,
    });
  });

  it('a pg_restore that is killed is no success, whatever it said before', async () => {
    const settings = into('killed', { bin_dir: await pretending(`echo '${excusable}' >&2; kill -9 $$`) });
    await assert.rejects(restore(settings, await captured('shop')), { code: 'program-failed', message: /SIGKILL/ });
  });

  it('a database that was there before is never dropped unasked, though a restore into it was broken off', async () => {
    await createDatabase(target, 'yours');
    const broken = into('yours', { bin_dir: await pretending('exit 1') });
    await assert.rejects(restore(broken, await captured('shop')), { code: 'program-failed' });
    await sql(target, 'yours', 'create table precious as select 1 as a');
    const refusal = { code: 'target-not-empty', message: /1 relation of a restore that was not finished/ };
    await assert.rejects(restore(into('yours'), await captured('shop')), refusal);
    assert.equal((await sql(target, 'yours', 'select * from precious')).length, 1);
    await restore(into('yours'), await captured('shop'), { replace: true });
  });

  it('a setting of the database that the server does not know is told, and the rest comes back', async () => {
    const { sink, source } = memoryParts();
    const point = await captured('shop');
    for await (const { name } of point.parts(ctx)) {
      const toc = name.endsWith('.toc.json') && (await readAll(point.get(ctx, name), 1_000_000)).toString();
      const settings = '"settings":[{"role":null,"name":"of_another_major","value":"secret"}]';
      const body = toc ? bytesOf(toc.replace('"settings":[]', settings)) : point.get(ctx, name);
      await sink.put(ctx, name, body);
    }
    const { warnings } = await restore(into('settings'), source);
    assert.match(warnings.join(), /alter database "settings" set "of_another_major": .*unrecognized/);
    assert.doesNotMatch(warnings.join(), /secret/);
    assert.deepEqual(await sql(target, 'settings', 'select * from t'), [{ a: 1 }]);
  });

  it('who may not create databases is told who has to', async () => {
    await sql(target, 'postgres', "create role clerk login password 'clerk'");
    const settings = into('missing', { user: 'clerk', password: 'clerk' });
    await assert.rejects(restore(settings, await captured('shop')), { code: 'privileges', hint: /CREATEDB/ });
  });

  async function tablespace(at: Postgres, name: string): Promise<void> {
    const path = await mkdtemp(join(dir, 'place-'));
    const owner = await stat(server.dir);
    await chmod(dir, 0o711);
    await chown(path, owner.uid, owner.gid);
    await sql(at, 'postgres', `create tablespace ${name} location '${path}'`);
  }
  const placesOf = `select (select spcname from pg_tablespace s where s.oid = d.dattablespace) as database,
    (select spcname from pg_tablespace s, pg_class c where s.oid = c.reltablespace and c.relname = 't') as table
    from pg_database d where datname = current_database()`;

  it('a tablespace that is there and may not be used is done without', async () => {
    for (const name of ['guarded', 'locked']) for (const at of [server, target]) await tablespace(at, name);
    await sql(server, 'postgres', 'create database kept tablespace guarded');
    await sql(server, 'kept', 'create table t tablespace locked as select 1 as a');
    await sql(target, 'postgres', "create role keeper login createdb password 'keeper'");
    const { warnings } = await restore(into('kept', { user: 'keeper', password: 'keeper' }), await captured('kept'));
    assert.match(warnings.join('\n'), /in the default tablespace, there is no guarded that may be used/);
    assert.match(warnings.join('\n'), /in the default tablespace, there is no locked that may be used/);
    assert.deepEqual(await sql(target, 'kept', placesOf), [{ database: 'pg_default', table: null }]);
  });

  it('fault 37: tablespaces are used where there are such, and done without where there are none', async () => {
    await tablespace(server, 'fast');
    await tablespace(server, 'slow');
    await sql(server, 'postgres', 'create database placed tablespace fast');
    await sql(server, 'placed', 'create table t tablespace slow as select 1 as a', 'create index on t (a)');
    const source = await captured('placed');

    const { warnings } = await restore(into('placed'), source);
    assert.match(warnings.join('\n'), /in the default tablespace, there is no fast/);
    assert.match(warnings.join('\n'), /in the default tablespace, there is no slow/);
    assert.deepEqual(await sql(target, 'placed', placesOf), [{ database: 'pg_default', table: null }]);
    assert.deepEqual(await differences(ctx, source, into('placed')), []);

    await tablespace(target, 'fast');
    await tablespace(target, 'slow');
    assert.deepEqual((await restore(into('placed'), source, { replace: true })).warnings, []);
    assert.deepEqual(await sql(target, 'placed', placesOf), [{ database: 'fast', table: 'slow' }]);
    assert.deepEqual(await differences(ctx, source, into('placed')), []);
  });
});
