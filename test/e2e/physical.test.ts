// A base backup by the command itself: drilled on a server that starts on it, restored to a directory, and brought back
// by stock restic with what the page says.

import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MARK } from '../../src/drivers/postgresql/physical/target.ts';
import { fillWithTablespaces, rowsOf, testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { unprivilegedUser } from '../servers/install.ts';
import { needServer } from '../servers/need.ts';
import { startPostgres, startPostgresOn } from '../servers/postgres.ts';
import { lifeboat } from './lifeboat.ts';
import { workspace } from './workspace.ts';

const MAJOR = 17;

interface Drilled {
  readonly evidence: { readonly verdict: string; readonly components: unknown };
}

const { dir, store, configure, run } = workspace('physical');

/** The block of the page. */
function byHand(): string {
  const page = readFileSync('docs/drivers/postgresql.md', 'utf8');
  const [, block = ''] = /```bash\n([\s\S]*?)```/.exec(page) ?? [];
  return block;
}

async function killedAsSoonAs(isTime: () => boolean, args: readonly string[]): Promise<void> {
  const onStart = (child: ChildProcess): void => {
    const watching = setInterval(() => isTime() && child.kill('SIGKILL'), 1);
    child.once('exit', () => clearInterval(watching));
  };
  await lifeboat(args, { cwd: dir, onStart });
}

test('a base backup is drilled, restored to a directory, also after a kill, and brought back without Lifeboat', async (t) => {
  if (!(await needServer(t, `postgres-${MAJOR}`, 'restic'))) return;
  using dirs = testDirs();
  await using server = await startPostgres(MAJOR);
  const { slow } = await fillWithTablespaces(server, dirs);
  await sql(server, 'postgres', "create role backup login replication password 'of the backup'");
  const component = `stack: shop
stores:
  main: ${store('main')}
  plain: { format: plain, layout: dated, bucket: ${join(dir, 'plain')} }
components:
  main-db:
    kind: postgresql
    host: ${server.host}
    port: ${server.port}
    user: backup
    password: of the backup
    capture: [physical]
    bin_dir: ${server.bin}
    tablespaces: { ${slow}: ${dirs.absent('slow here')}, '*': ${dirs.absent('others')} }
    checks: [{ name: rows are there, sql: select count(*) from customers, database: shop, equals: 1000 }]
`;
  configure(component);
  await run(0, 'init');
  await run(0, 'doctor');
  await run(0, 'backup');
  const { evidence } = (await run(0, 'drill', '--store', 'main', '--json')).json() as Drilled;
  assert.equal(evidence.verdict, 'pass');
  const findings = JSON.stringify(evidence.components);
  assert.match(findings, /files are the same.*a server starts on it.*rows are there/);

  const path = dirs.absent('restored');
  // Its check asks a server, and a directory is none.
  const restored = (await run(3, 'restore', 'latest', '--store', 'main', '--to', `main-db=${path}`, '--yes', '--json'))
    .stdout;
  assert.match(restored, /files are the same/);
  assert.doesNotMatch(restored, /"verdict": ?"fail"/);
  const customers = await rowsOf(server, 'shop', 'customers');
  const old = await rowsOf(server, 'archive', 'old');
  {
    await using again = await startPostgresOn(MAJOR, path);
    assert.deepEqual(await rowsOf(again, 'shop', 'customers'), customers);
    assert.deepEqual(await rowsOf(again, 'archive', 'old'), old);
  }
  await run(12, 'restore', 'latest', '--store', 'main', '--to', `main-db=${path}`, '--yes');
  // Its tablespaces would go to where they are by now.
  const plain = ['restore', 'latest', '--store', 'plain', '--yes', '--to'];
  const refused = await run(12, ...plain, `main-db=${dirs.absent('from plain')}`);
  assert.match(refused.stderr, /slow here/);
  assert.ok(!existsSync(dirs.absent('from plain')));
  const withoutTablespaces = (): void => {
    for (const place of ['slow here', 'others']) rmSync(dirs.absent(place), { recursive: true });
  };
  withoutTablespaces();
  const killed = dirs.absent('killed');
  const again = ['restore', 'latest', '--store', 'main', '--to', `main-db=${killed}`, '--yes'];
  await killedAsSoonAs(() => existsSync(join(killed, 'base')), again);
  assert.ok(existsSync(join(killed, MARK)) && !existsSync(join(killed, 'global/pg_control')));
  assert.match((await run(3, ...again)).stdout, /unfinished restore had left .* was cleared away/);
  assert.ok(!existsSync(join(killed, MARK)) && existsSync(join(killed, 'global/pg_control')));
  withoutTablespaces();
  await run(3, ...plain, `main-db=${dirs.absent('from plain')}`);
  {
    await using again = await startPostgresOn(MAJOR, dirs.absent('from plain'));
    assert.deepEqual(await rowsOf(again, 'archive', 'old'), old);
  }

  const owner = unprivilegedUser();
  const env = {
    ...process.env,
    HOME: dir,
    RESTIC_CACHE_DIR: join(dir, 'cache'),
    RESTIC_REPOSITORY: join(dir, 'main'),
    RESTIC_PASSWORD_FILE: join(dir, 'password'),
    RESTORED: dirs.make('by hand'),
    OWNER: owner ? `${owner.uid}:${owner.gid}` : String(process.getuid?.()),
  };
  const ran = spawnSync('bash', ['-euo', 'pipefail', '-c', byHand()], { encoding: 'utf8', env });
  assert.equal(ran.status, 0, ran.stdout + ran.stderr);
  await using alone = await startPostgresOn(MAJOR, join(env.RESTORED, 'main-db/physical/data'));
  assert.deepEqual(await rowsOf(alone, 'shop', 'customers'), customers);
  assert.deepEqual(await rowsOf(alone, 'archive', 'old'), old);
});

test('a server is not asked to take a base backup: the preview says so, and nothing else is touched', async (t) => {
  if (!(await needServer(t, `postgres-${MAJOR}`))) return;
  await using server = await startPostgres(MAJOR);
  await sql(server, 'postgres', 'create database shop');
  const uploads = join(dir, 'uploads');
  mkdirSync(uploads);
  writeFileSync(join(uploads, 'file'), 'before');
  configure(`stack: shop
stores: { unfit: ${store('unfit')} }
components:
  main-db: { kind: postgresql, url: "${server.url}", bin_dir: "${server.bin}", capture: [physical] }
  uploads: { kind: files, paths: ["${uploads}"] }
`);
  await run(0, 'init');
  await run(0, 'backup');
  writeFileSync(join(uploads, 'file'), 'after');
  for (const way of [[], ['--in-place']]) {
    const { stdout } = await run(3, 'restore', 'latest', '--preview', ...way);
    assert.match(stdout, /PROBLEM: main-db: .*nothing for a server\n {2}restore it .* --to main-db=\/path/);
    assert.doesNotMatch(stdout, /main-db=.*--in-place/);
    const { stderr } = await run(11, 'restore', 'latest', '--yes', ...way);
    assert.match(stderr, /nothing for a server\n {2}restore it into an empty directory: --to main-db=\/path/);
    assert.equal(readFileSync(join(uploads, 'file'), 'utf8'), 'after');
  }
});
