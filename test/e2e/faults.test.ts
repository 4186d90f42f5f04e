// What the world does to a backup, seen from the command: full and read-only disks, servers that go away, tables that
// are locked or closed, a dump that breaks off.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { lifeboat, type Ran } from './lifeboat.ts';
import { query } from './postgres.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, write, run, runWith } = workspace('faults');

function errorOf(ran: Ran): { code: string; message: string } {
  return (ran.json() as { error: { code: string; message: string } }).error;
}

async function pointsListed(): Promise<number> {
  return ((await run(0, 'list', '--json')).json() as { points: unknown[] }).points.length;
}

describe('a store', () => {
  const place = join(dir, 'disk');
  const unmountable = process.getuid?.() === 0 ? false : 'only root can mount the small disk';
  const mount = (options: string): void => {
    const ran = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'none', place], { encoding: 'utf8' });
    assert.equal(ran.status, 0, ran.stderr);
  };
  const configured = (name: string): void =>
    configure(`stack: shop
stores: { main: ${store(name)} }
components: { uploads: { kind: files, paths: [${join(dir, 'uploads')}] } }
`);
  before(() => {
    mkdirSync(place);
    configured('disk/store');
  });

  test('on a full disk stays valid, and the next run goes on when there is space (fault 16)', {
    skip: unmountable,
  }, async (t) => {
    mount('size=6m');
    t.after(() => spawnSync('umount', [place]));
    write('uploads/small.txt', 'small');
    await run(0, 'init');
    await run(0, 'backup');
    const noise = spawnSync('head', ['-c', '16000000', '/dev/urandom'], { maxBuffer: 2 ** 25 }).stdout;
    writeFileSync(join(dir, 'uploads/large.bin'), noise);
    const ran = await run(16, 'backup', '--json');
    assert.equal(errorOf(ran).code, 'no-space');
    assert.equal(await pointsListed(), 1);
    await run(0, 'verify', '--read-data');
    spawnSync('mount', ['-o', 'remount,size=64m', place]);
    await run(0, 'backup');
    await run(0, 'verify', '--read-data');
    assert.equal(await pointsListed(), 2);
    spawnSync('mount', ['-o', 'remount,ro', place]);
    assert.equal(errorOf(await run(17, 'backup', '--json')).code, 'denied');
    await run(0, 'list');
    configured('disk/another');
    assert.equal(errorOf(await run(17, 'init', '--json')).code, 'denied');
  });

  test('in a directory that may not be written is not made', {
    skip: unmountable === false ? 'root may write everywhere' : false,
  }, async () => {
    chmodSync(place, 0o500);
    assert.equal(errorOf(await run(17, 'init', '--json')).code, 'denied');
    chmodSync(place, 0o700);
  });
});

const skip = await missing('postgres-17');

describe('a PostgreSQL', () => {
  let postgres: Postgres;
  before(async () => {
    if (skip !== false) return;
    postgres = await startPostgres(17);
    await query(postgres.url, 'CREATE DATABASE shop');
    const rows = 'SELECT i AS id, repeat(md5(i::text), 20) AS note FROM generate_series(1, 30000) AS i';
    await query(shop(), `CREATE TABLE orders AS ${rows}; CREATE TABLE secrets AS SELECT 1 AS id`);
    configured();
    await run(0, 'init');
  });
  after(async () => {
    await postgres?.[Symbol.asyncDispose]();
  });

  function shop(): string {
    return postgres.url.replace(/postgres$/, 'shop');
  }
  function configured({ url = shop(), settings = `bin_dir: ${postgres.bin}`, rate = '' } = {}): void {
    configure(`stack: shop
stores: { main: ${store('store').replace('}"', `}"${rate}`)} }
components:
  main-db: { kind: postgresql, url: "${url}", databases: [shop], ${settings} }
  uploads: { kind: files, paths: [${join(dir, 'small')}] }
`);
    write('small/a.txt', 'a');
  }

  test('whose table is locked fails after its deadline, and names who holds it', { skip }, async () => {
    const holder = new Client({ connectionString: shop() });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE');
    const { rows } = await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    configured({ settings: `bin_dir: ${postgres.bin}, lock_timeout: 1s` });
    const ran = await run(1, 'backup', 'main-db', '--json');
    await holder.end();
    assert.match(errorOf(ran).message, /blocked/);
    assert.match(errorOf(ran).message, new RegExp(`\\b${rows[0]?.pid}\\b`));
  });

  test('that keeps a table from us fails, names it, and does not keep the others from being saved', {
    skip,
  }, async () => {
    await query(shop(), "CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT SELECT ON orders TO clerk");
    configured({ url: shop().replace(/\/\/[^@]*@/, '//clerk:clerk@') });
    const { point, failures } = (await run(3, 'backup', '--json')).json() as {
      point: { status: string; components: Record<string, { error?: { code: string; message: string } }> };
      failures: { component: string; error: { code: string; hint: string } }[];
    };
    assert.equal(point.status, 'partial');
    assert.equal(point.components['main-db']?.error?.code, 'privileges');
    assert.match(point.components['main-db']?.error?.message ?? '', /secrets/);
    assert.ok(!point.components.uploads?.error);
    assert.deepEqual([failures.length, failures[0]?.component], [1, 'main-db']);
    assert.match(failures[0]?.error.hint ?? '', /^grant /);
    assert.match((await run(3, 'backup')).stdout, /INCOMPLETE: .*\n {2}main-db: grant /);
  });

  test('whose dump breaks off half-way leaves no point (fault 34)', { skip }, async () => {
    const bin = join(dir, 'half');
    mkdirSync(bin);
    for (const each of readdirSync(postgres.bin)) {
      if (each !== 'pg_dump') symlinkSync(join(postgres.bin, each), join(bin, each));
    }
    const real = join(postgres.bin, 'pg_dump');
    const script = `#!/bin/sh\ncase "$*" in *--version*) exec "${real}" "$@";; esac\n"${real}" "$@" | head -c 100000\n`;
    writeFileSync(join(bin, 'pg_dump'), script);
    chmodSync(join(bin, 'pg_dump'), 0o755);
    configured({ settings: `bin_dir: ${bin}` });
    const before = await pointsListed();
    await run(1, 'backup', 'main-db', '--json');
    assert.equal(await pointsListed(), before);
  });

  test('that dies during its capture leaves no point, and the next run succeeds', { skip }, async () => {
    configured({ rate: ', rate_limit: 500KB' });
    const before = await pointsListed();
    let killed: Promise<void> | undefined;
    const ran = await lifeboat(['backup', 'main-db', '--progress', 'json', '--json'], {
      cwd: dir,
      onStart(child) {
        child.stderr?.on('data', (text: string) => {
          if (/"bytes":[1-9]\d{5}/.test(text)) killed ??= postgres.kill();
        });
      },
    });
    await killed;
    assert.equal(ran.code, 1, ran.stdout + ran.stderr);
    assert.match(errorOf(ran).message, /main-db/);
    assert.equal(await pointsListed(), before);
    await postgres.start();
    configured();
    await run(0, 'backup');
  });

  test('that is gone after its capture is not needed to list, verify and rehearse', { skip }, async () => {
    await postgres.stop();
    await run(0, 'list');
    await run(0, 'verify', '--read-data');
    const PATH = [postgres.bin, process.env.PATH].join(delimiter);
    await runWith({ env: { PATH } }, 0, 'drill', '--only', 'main-db');
    await postgres.start();
  });
});
