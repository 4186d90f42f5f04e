// Servers that recover by themselves from a store, while what comes next is fetched ahead of them: also when whoever
// does that is killed, when the server is stopped or killed, and when two recover at once.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { localBucket } from '../../src/buckets/local/bucket.ts';
import { liveContext } from '../../src/core/testing.ts';
import { type TestDirs, testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { KEEPING, shipping } from '../../src/drivers/postgresql/recovery/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { resticFormat } from '../../src/stores/restic/store.ts';
import { unprivilegedUser } from '../servers/install.ts';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../servers/postgres.ts';
import { until } from '../servers/processes.ts';
import { workspace } from './workspace.ts';

const MIB = 2 ** 20;
const SEGMENTS = 150;
/** That wait for the server at most. */
const WAITING = 16;
const DEADLINE_MS = 120_000;
const ctx = liveContext();

for (const major of [15, 18] as const) {
  const skip = await missing(`postgres-${major}`);
  describe(`the log of PostgreSQL ${major} is fetched ahead of it`, { skip }, () => {
    const { dir, store, configure, run } = workspace(`ahead-${major}`);
    let dirs: TestDirs;
    let made = 0;

    before(async () => {
      dirs = testDirs();
      await using source = await startPostgres(major, { conf: KEEPING });
      await withSmallSegments(source);
      const { host, port, user, password, bin } = source;
      const component = { kind: 'postgresql', host, port, user, password, bin_dir: bin, capture: ['physical'] };
      configure(`{ stack: shop, stores: { main: ${store('main')} },
        components: { main-db: ${JSON.stringify(component)} } }`);
      await run(0, 'init');
      await sql(source, 'postgres', 'create table rounds (n int)');
      const settings = { stack: 'shop', password: 'sesame' };
      await using open = await resticFormat.open(ctx, localBucket(join(dir, 'main')), settings);
      await using writer = await open.journal('main-db').write(ctx);
      const ships = await shipping(ctx, writer, source, { segmentBytes: MIB });
      await run(0, 'backup');
      const round = (n: number): readonly string[] => [`insert into rounds values (${n})`, 'select pg_switch_wal()'];
      await sql(source, 'postgres', ...Array.from({ length: SEGMENTS }, (_, n) => round(n)).flat());
      await ships.ship();
    });
    after(() => dirs?.[Symbol.dispose]());

    const restored = async (): Promise<string> => {
      const path = dirs.absent(`restored-${++made}`);
      await run(0, 'restore', 'latest', '--until', 'latest', '--to', `main-db=${path}`, '--yes');
      const owner = unprivilegedUser();
      if (owner) execFileSync('chown', ['-R', `${owner.uid}:${owner.gid}`, dir]);
      return path;
    };
    /** By their processes: those of one configuration. */
    const fillers = (): number[] =>
      pidsOf((words) => words.includes('--ahead') && words.includes(join(dir, 'lifeboat.yaml')));
    const filled = async (path: string): Promise<void> => {
      const names = (): string[] => readdirSync(join(path, 'pg_wal/lifeboat'));
      await until('the folder is full', DEADLINE_MS, async () => names().filter(isSegment).length >= WAITING);
    };
    const recoveredOn = async (server: Postgres, path: string): Promise<void> => {
      await until('it has recovered', DEADLINE_MS, async () => {
        const [row] = await sql(server, 'postgres', 'select pg_is_in_recovery() as is');
        return !(row as { is: boolean }).is;
      });
      assert.deepEqual(await sql(server, 'postgres', 'select count(*)::int as n from rounds'), [{ n: SEGMENTS }]);
      assert.ok(!existsSync(join(path, 'pg_wal/lifeboat')));
      assert.deepEqual(
        readdirSync(join(path, 'pg_wal')).filter((name) => /lifeboat|ahead/.test(name)),
        [],
      );
    };

    test('it takes from a folder that is kept full, and nobody is left when it has recovered', async () => {
      const path = await restored();
      assert.deepEqual(fillers(), [], 'nobody waits for a server that may never be started');
      await using server = await startPostgresOn(major, path);
      await paused(server);
      await filled(path);
      assert.equal(fillers().length, 1);
      await sql(server, 'postgres', 'select pg_wal_replay_resume()');
      await recoveredOn(server, path);
      await until('all have ended', DEADLINE_MS, async () => fillers().length === 0);
    });

    test('who fills the folder is killed, and so is the server, in the middle', async () => {
      const path = await restored();
      await using server = await startPostgresOn(major, path);
      await paused(server);
      await filled(path);
      for (const pid of fillers()) process.kill(pid, 'SIGKILL');
      await sql(server, 'postgres', 'select pg_wal_replay_resume()');
      await until('another one has come', DEADLINE_MS, async () => fillers().length === 1);
      await paused(server);
      await server.kill();
      await server.start();
      await recoveredOn(server, path);
      await until('all have ended', DEADLINE_MS, async () => fillers().length === 0);
    });

    test('a server that is stopped takes along who fills the folder, and goes on when it is started again', async () => {
      const path = await restored();
      await using server = await startPostgresOn(major, path);
      await paused(server);
      await filled(path);
      await server.stop();
      await until('all have ended', DEADLINE_MS, async () => fillers().length === 0);
      assert.deepEqual(
        readdirSync(join(path, 'pg_wal/lifeboat')).filter((name) => name.startsWith('ahead')),
        [],
      );
      await server.start();
      await recoveredOn(server, path);
    });

    test('two recover at once', async () => {
      const paths = [await restored(), await restored()];
      await Promise.all(
        paths.map(async (path) => {
          await using server = await startPostgresOn(major, path);
          await recoveredOn(server, path);
        }),
      );
    });
  });
}

/** Of the server's log: so that many are little. */
async function withSmallSegments(server: Postgres): Promise<void> {
  await server.stop();
  const options = { ...(unprivilegedUser() ?? {}), env: { LC_ALL: 'C' } };
  execFileSync(join(server.bin, 'pg_resetwal'), ['--wal-segsize=1', '-D', server.dir], options);
  await server.start();
}

/** Wherever it is by now. */
async function paused(server: Postgres): Promise<void> {
  await sql(server, 'postgres', 'select pg_wal_replay_pause()');
}

function isSegment(name: string): boolean {
  return /^[0-9A-F]{24}$/.test(name);
}

function pidsOf(isOne: (words: readonly string[]) => boolean): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return words.some((word) => word.endsWith('/main.ts')) && isOne(words);
      } catch {
        return false; // gone
      }
    })
    .map(Number);
}
