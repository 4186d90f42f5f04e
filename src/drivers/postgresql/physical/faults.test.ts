// What goes wrong around a base backup: servers that die or refuse, points that are damaged, targets that hold data,
// restores that are broken off.

import assert from 'node:assert/strict';
import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../../../../test/servers/postgres.ts';
import { bytesOf } from '../../../core/bytes.ts';
import type { Component } from '../../../core/component.ts';
import type { Failure } from '../../../core/errors.ts';
import { inventoryOf } from '../../../core/inventory.ts';
import type { Finding, Source } from '../../../core/model.ts';
import { liveContext, memoryParts } from '../../../core/testing.ts';
import { postgresqlDriver } from '../driver.ts';
import { captureOf, createDatabase, differences, SHOP, settingsFor, sql } from '../testing.ts';
import { MARK } from './target.ts';
import { differencesIn, physicalOf, rowsOf, type TestDirs, testDirs } from './testing.ts';

const MAJOR = 16;
const skip = await missing(`postgres-${MAJOR}`);
/** The build that speaks TLS. */
const unencrypted = await missing('postgres-15');
describe('base backups and what goes wrong', { skip }, () => {
  const ctx = liveContext();
  let dirs: TestDirs;
  let server: Postgres;
  let source: Source;
  const into = (path: string, more: object = {}): Component =>
    postgresqlDriver.open({ data_directory: path, bin_dir: server.bin, ...more });
  before(async () => {
    dirs = testDirs();
    server = await startPostgres(MAJOR, { conf: { log_replication_commands: 'on', full_page_writes: 'on' } });
    await createDatabase(server, 'shop', SHOP);
    ({ source } = await captureOf(ctx, settingsFor(server, { capture: ['logical', 'physical'], databases: ['shop'] })));
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    dirs?.[Symbol.dispose]();
  });

  test('a point of both methods comes back to a server as rows, and to a directory as files', async () => {
    await using other = await startPostgres(MAJOR);
    const settings = settingsFor(other, { databases: ['shop'] });
    const { method } = await postgresqlDriver.open(settings).restore(ctx, { base: source });
    assert.equal(method, 'pg_restore');
    assert.deepEqual(await differences(ctx, source, settings), []);
    const target = into(dirs.absent('both'));
    await target.restore(ctx, { base: source });
    assert.deepEqual(await differencesIn(ctx, source, target), []);
    const files = await target.inventory(ctx);
    const rows = await captureOf(ctx, settingsFor(server, { databases: ['shop'] }));
    const findings = await Array.fromAsync(postgresqlDriver.compare(ctx, inventoryOf(rows.source), files));
    assert.deepEqual(
      findings.map(({ verdict }) => verdict),
      ['unknown'],
    );
  });

  test('a point of files is refused by a server, with the way to restore it', async () => {
    const { source: files } = await captureOf(ctx, physicalOf(server));
    const empty = postgresqlDriver.open(settingsFor(server));
    await assert.rejects(empty.restore(ctx, { base: files }), { code: 'missing', hint: /--to it=\/path/ });
    const { source: rows } = await captureOf(ctx, settingsFor(server, { databases: ['shop'] }));
    await assert.rejects(into(dirs.absent('rows')).restore(ctx, { base: rows }), { code: 'missing' });
  });

  test('a file that changes after the restore is found', async () => {
    const path = dirs.absent('changed');
    const target = into(path);
    await target.restore(ctx, { base: source });
    const file = join(path, 'global/pg_filenode.map');
    const bytes = readFileSync(file);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    rmSync(join(path, 'PG_VERSION'));
    writeFileSync(join(path, 'stray'), 'x');
    assert.deepEqual(
      (await differencesIn(ctx, source, target)).map(({ check, verdict }) => `${check} ${verdict}`),
      ['PG_VERSION is the same fail', 'global/pg_filenode.map is the same fail', 'stray is the same fail'],
    );
  });

  test('a capture of a server that is killed meanwhile is none', async () => {
    await using dying = await startPostgres(MAJOR);
    const killed = captureOf(ctx, physicalOf(dying), () => dying.kill(), '');
    await assert.rejects(killed, { code: 'unreachable' });
  });

  test('a store that refuses a part fails the capture with its own reason', async () => {
    const refusal = new RangeError('the store is full');
    const refusing = { ...memoryParts().sink, put: () => Promise.reject(refusal) };
    const capturing = postgresqlDriver.open(physicalOf(server)).capture(ctx, refusing);
    await assert.rejects(capturing, (error) => error === refusal);
  });

  test('a stopped capture leaves no slot behind', async () => {
    const stop = new AbortController();
    const stopping = liveContext({ signal: stop.signal });
    await assert.rejects(
      captureOf(stopping, physicalOf(server), async () => stop.abort(), ''),
      { code: 'interrupted' },
    );
    const left = async (): Promise<unknown[]> => await sql(server, 'postgres', 'select * from pg_replication_slots');
    while ((await left()).length > 0) await ctx.sleep(20);
  });

  test('a role or a server that lets nobody replicate is told with the next step', async () => {
    await using strict = await startPostgres(MAJOR);
    await sql(strict, 'postgres', "create role clerk login password 'x'");
    const clerk = physicalOf(strict, { user: 'clerk', password: 'x' });
    const refused = { code: 'privileges', hint: 'alter role "clerk" replication' };
    await assert.rejects(captureOf(ctx, clerk), refused);
    assert.deepEqual(await failing(clerk), ['its role may take base backups: alter role "clerk" replication']);
    await sql(strict, 'postgres', 'alter role clerk replication');
    assert.deepEqual(await failing(clerk), [], 'nothing else is needed');
    await captureOf(ctx, clerk);
    const hba = join(strict.dir, 'pg_hba.conf');
    const rules = readFileSync(hba, 'utf8').split('\n');
    writeFileSync(hba, rules.filter((rule) => !/\sreplication\s/.test(rule)).join('\n'));
    await sql(strict, 'postgres', 'select pg_reload_conf()');
    const hint = /add to pg_hba\.conf, and reload: host replication clerk/;
    while ((await failing(clerk)).length === 0) await ctx.sleep(20);
    await assert.rejects(captureOf(ctx, clerk), { code: 'denied', hint });
    assert.match((await failing(clerk)).join(), hint);
  });

  test('a server without the log or the senders for it is told with the next step', async () => {
    await using minimal = await startPostgres(MAJOR, { conf: { wal_level: 'minimal', max_wal_senders: '0' } });
    const findings = await failing(physicalOf(minimal));
    assert.equal(findings.length, 2);
    assert.match(findings.join(), /wal_level = replica.*raise max_wal_senders/);
    await assert.rejects(captureOf(ctx, physicalOf(minimal)), { code: 'unreachable', hint: /max_wal_senders/ });
  });

  test('an encrypted connection carries it as well', { skip: unencrypted }, async () => {
    await using secure = await startPostgres(15, { tls: true });
    const tls = { mode: 'verify-ca', ca: secure.caFile };
    const { source: encrypted } = await captureOf(ctx, physicalOf(secure, { tls }));
    const target = postgresqlDriver.open({ data_directory: dirs.absent('encrypted'), bin_dir: secure.bin });
    await target.restore(ctx, { base: encrypted });
    assert.deepEqual(await differencesIn(ctx, encrypted, target), []);
  });

  test('what was captured from a standby comes up as a primary', async () => {
    const path = dirs.absent('standby');
    await into(path).restore(ctx, { base: source });
    const primary = `host=${server.host} port=${server.port} user=${server.user} password='${server.password}'`;
    writeFileSync(join(path, 'standby.signal'), '');
    appendFileSync(join(path, 'postgresql.auto.conf'), `primary_conninfo = '${primary.replaceAll("'", "''")}'\n`);
    await using standby = await startPostgresOn(MAJOR, path);
    const { source: copied, capture } = await captureOf(ctx, physicalOf(standby));
    assert.match(capture.warnings.join(), /standby\.signal is in it/);
    const target = into(dirs.absent('primary'));
    const { warnings } = await target.restore(ctx, { base: copied });
    assert.match(warnings.join(), /standby\.signal was left out/);
    assert.deepEqual(await differencesIn(ctx, copied, target), []);
    await using again = await startPostgresOn(MAJOR, dirs.absent('primary'));
    assert.deepEqual(await sql(again, 'postgres', 'select pg_is_in_recovery() as is'), [{ is: false }]);
    assert.deepEqual(await rowsOf(again, 'shop', 'customers'), await rowsOf(server, 'shop', 'customers'));
  });

  test('without a free slot the capture goes on, and says what may happen', async () => {
    await using taken = await startPostgres(MAJOR, { conf: { max_replication_slots: '1' } });
    await sql(taken, 'postgres', "select pg_create_physical_replication_slot('standby')");
    const { capture } = await captureOf(ctx, physicalOf(taken));
    assert.match(capture.warnings.join(), /nothing held the log/);
  });

  test('a rate is asked for', async () => {
    await captureOf(ctx, physicalOf(server, { max_rate: '512MiB' }));
    assert.match(server.output(), /MAX_RATE 524288/);
    assert.throws(() => postgresqlDriver.open(physicalOf(server, { max_rate: '1KiB' })), { code: 'settings-invalid' });
  });

  test('a restore that was broken off says so, does not start, and is cleared by the next', async () => {
    const path = dirs.make('broken off');
    const breaking: Source = {
      ...source,
      async *get(c, name, range) {
        if (name.endsWith('pg_xact/0000')) throw new Error('pulled out');
        yield* source.get(c, name, range);
      },
    };
    await assert.rejects(into(path).restore(ctx, { base: breaking }), /pulled out/);
    assert.ok(existsSync(join(path, MARK)));
    assert.ok(!existsSync(join(path, 'global/pg_control')));
    await assert.rejects(startPostgresOn(MAJOR, path));
    assert.equal((await into(path).probe(ctx)).holdsData, null);
    writeFileSync(join(path, 'left'), 'over');
    const { warnings } = await into(path).restore(ctx, { base: source });
    assert.match(warnings.join(), /unfinished restore had left .* was cleared away/);
    assert.ok(!existsSync(join(path, MARK)) && !existsSync(join(path, 'left')));
    assert.deepEqual(await differencesIn(ctx, source, into(path)), []);
    await using started = await startPostgresOn(MAJOR, path);
    assert.deepEqual(await rowsOf(started, 'shop', 'customers'), await rowsOf(server, 'shop', 'customers'));
  });

  test('a directory that holds data stays as it is, in place too', async () => {
    const path = dirs.make('full');
    writeFileSync(join(path, 'mine'), 'x');
    assert.match((await into(path).probe(ctx)).holdsData ?? '', /mine/);
    for (const replace of [false, true]) {
      await assert.rejects(into(path).restore(ctx, { base: source }, { replace }), { code: 'target-not-empty' });
    }
    assert.deepEqual(readdirSync(path), ['mine']);
  });

  test('a disk that does not take a file behind the restore fails it, and the directory is none', async () => {
    const path = dirs.absent('failing disk');
    let failed = '';
    const failing: Source = {
      ...source,
      async *get(c, name, range) {
        yield* source.get(c, name, range);
        if (failed !== '' || !name.includes('pg_wal/0')) return;
        failed = basename(name);
        disconnect(join(path, 'pg_wal', failed));
      },
    };
    await assert.rejects(into(path).restore(ctx, { base: failing }, { jobs: 1 }), ({ code, message }: Failure) => {
      assert.equal(code, 'disk-failed');
      assert.match(message, new RegExp(`pg_wal/${failed} is not on the disk: EINVAL.* fsync`));
      return true;
    });
    assert.ok(existsSync(join(path, MARK)));
    await into(path).restore(ctx, { base: source });
    assert.deepEqual(await differencesIn(ctx, source, into(path)), []);
  });

  test('a damaged point is found while it is written, and is no data directory', async () => {
    for (const [at, file] of ['global/1262', 'pg_wal/'].entries()) {
      const path = dirs.absent(`damaged ${at}`);
      const damaged: Source = {
        ...source,
        async *get(c, name, range) {
          const isDamaged = name.startsWith(`physical/data/${file}`);
          for await (const chunk of source.get(c, name, range)) yield isDamaged ? Buffer.alloc(chunk.length, 1) : chunk;
        },
      };
      const refused = { code: 'checksum', message: /the point has other bytes than it says/ };
      await assert.rejects(into(path).restore(ctx, { base: damaged }), refused);
      assert.ok(existsSync(join(path, MARK)));
    }
  });

  test('what the store gives unhashed is hashed here, and asked for once more where it differs', async () => {
    let asked = 0;
    const twofold: Source = {
      ...source,
      async *getUnhashed(c, name) {
        asked += 1;
        for await (const chunk of source.get(c, name))
          yield name.includes('pg_wal/') ? Buffer.alloc(chunk.length) : chunk;
      },
    };
    const target = into(dirs.absent('unhashed'));
    await target.restore(ctx, { base: twofold }, { reread: true });
    assert.ok(asked > 0);
    assert.deepEqual(await differencesIn(ctx, source, target), []);
  });

  test('a hostile point writes nowhere else', async () => {
    const inventory = (await Array.fromAsync(inventoryOf(source).lines(ctx))).filter(({ kind }) => kind !== 'table');
    const digest = `sha256:${'0'.repeat(64)}`;
    for (const name of ['../outside', '/etc/outside', 'base/../../outside', 'pg_tblspc/9/x']) {
      const { sink, source: hostile } = memoryParts();
      const lines = [...inventory, { kind: 'file', name, count: 1, digest }];
      const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
      await sink.put(ctx, 'inventory.ndjson', bytesOf(text));
      const path = dirs.absent('hostile');
      await assert.rejects(into(path).restore(ctx, { base: hostile }), { code: 'malformed' }, name);
      assert.ok(!existsSync(path), 'nothing was touched');
    }
    for (const line of ['data/../../x', 'data//x', 'tablespaces/7', 'elsewhere']) {
      const other: Source = {
        ...source,
        get: (c, name, range) => (name === 'physical/directories' ? bytesOf(`${line}\n`) : source.get(c, name, range)),
      };
      await assert.rejects(into(dirs.absent('hostile')).restore(ctx, { base: other }), { code: 'malformed' }, line);
    }
    assert.ok(!existsSync(dirs.absent('x')));
    for (const location of ['/srv/../etc', 'srv', '/srv/', '/srv/a\nb']) {
      const [facts, ...others] = inventory;
      const told = { ...facts, detail: { ...Object(facts?.detail), tablespaces: [{ oid: '7', location }] } };
      const { sink, source: hostile } = memoryParts();
      await sink.put(
        ctx,
        'inventory.ndjson',
        bytesOf([told, ...others].map((line) => `${JSON.stringify(line)}\n`).join('')),
      );
      await assert.rejects(into(dirs.absent('hostile')).restore(ctx, { base: hostile }), { code: 'malformed' });
    }
  });

  test('links in the way are met, not followed', async () => {
    const path = dirs.make('linked');
    const elsewhere = dirs.make('elsewhere');
    const meddling: Source = {
      ...source,
      async *get(c, name, range) {
        if (name === 'physical/directories') {
          symlinkSync(elsewhere, join(path, 'global'));
        }
        yield* source.get(c, name, range);
      },
    };
    await assert.rejects(into(path).restore(ctx, { base: meddling }), { code: 'target-not-empty' });
    assert.deepEqual(readdirSync(elsewhere), []);
  });

  test('tablespaces that would lie in one another are refused before anything is made', async () => {
    await using spaced = await startPostgres(MAJOR);
    const space = dirs.make('space');
    await sql(spaced, 'postgres', `create tablespace fast location '${space}'`);
    const { source: spread } = await captureOf(ctx, physicalOf(spaced));
    const path = dirs.absent('nested');
    assert.deepEqual(await into(path, { tablespaces: { '*': '/srv/a' } }).cautions?.(ctx, { base: spread }), [
      'tablespace 16384 goes to /srv/a/16384',
    ]);
    await assert.rejects(async () => into(path).cautions?.(ctx, { base: spread }), { code: 'target-not-empty' });
    const nested = into(path, { tablespaces: { [space]: join(path, 'pg_tblspc_here') } });
    await assert.rejects(nested.restore(ctx, { base: spread }), { code: 'settings-invalid' });
    await assert.rejects(into(path).restore(ctx, { base: spread }), { code: 'target-not-empty', message: /space/ });
    assert.ok(!existsSync(path));
  });

  test('a component of a directory is no source, and names no server besides', () => {
    assert.throws(() => postgresqlDriver.open({ data_directory: '/x', host: 'db' }), { code: 'settings-invalid' });
    assert.throws(() => postgresqlDriver.open({ data_directory: 'x' }), { code: 'settings-invalid' });
    assert.throws(() => postgresqlDriver.open({ data_directory: '/x/../y' }), { code: 'settings-invalid' });
    const here = postgresqlDriver.retarget(settingsFor(server, { tablespaces: { '/a': '/b' } }), '/var/lib/restored');
    const common = { tablespaces: { '/a': '/b' }, bin_dir: server.bin };
    const asWho = { databases: 'all', user: server.user }; // who explores it signs in
    assert.deepEqual(here, { data_directory: '/var/lib/restored', ...common, ...asWho });
    const back = postgresqlDriver.retarget(here, 'postgresql://db/shop');
    assert.deepEqual(back, { url: 'postgresql://db/shop', ...common, ...asWho });
    return assert.rejects(into('/x').capture(ctx, memoryParts().sink), { code: 'settings-invalid' });
  });

  /** Our open file goes where nothing can be synced: what the next `fsync` of its number says. */
  function disconnect(path: string): void {
    const opened = readdirSync('/proc/self/fd').map(Number);
    const fd = opened.find((each) => linkOf(each) === path);
    assert.ok(fd !== undefined);
    closeSync(fd);
    const taken: number[] = [];
    while (!taken.includes(fd)) taken.push(openSync('/dev/full', 'w'));
    for (const each of taken) if (each !== fd) closeSync(each);
  }
  function linkOf(fd: number): string {
    return existsSync(`/proc/self/fd/${fd}`) ? readlinkSync(`/proc/self/fd/${fd}`) : '';
  }

  /** What keeps a capture from working, with the next step. */
  async function failing(settings: unknown): Promise<string[]> {
    const { findings } = await postgresqlDriver.open(settings).probe(ctx);
    const failed = ({ verdict }: Finding): boolean => verdict === 'fail';
    return findings.filter(failed).map(({ check, hint }) => `${check}: ${hint}`);
  }
});
