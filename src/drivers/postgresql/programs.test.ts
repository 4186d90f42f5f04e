import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { type Running, run, start } from '../../core/process.ts';
import { liveContext } from '../../core/testing.ts';
import { cleanContext, commandFor, commandOf, findProgram, type Program, piped } from './programs.ts';
import { serverOf } from './settings.ts';
import { captureOf, createDatabase, settingsFor } from './testing.ts';

const ENOUGH_BYTES = 4 * 1024 * 1024;
const UNBUFFERED_BYTES = 8 * 1024;
const LARGE = 'create table large as select g as id, repeat(md5(g::text), 100) as t from generate_series(1, 8000) g';

/** False where the sizes of reads and writes can be seen; a reason to skip is a failure where all must run. */
async function unseen(): Promise<string | false> {
  if (process.env.REQUIRE_SERVERS === 'all') return false;
  if (process.platform !== 'linux') return 'only Linux tells how much a process reads and writes at a time';
  if (process.env.LD_PRELOAD) return 'LD_PRELOAD is set, so stdbuf is left alone';
  try {
    await promisify(execFile)('stdbuf', ['--version']);
    return false;
  } catch (error) {
    return `stdbuf can't be had: ${error instanceof Error ? error.message : error}`;
  }
}

const UNSEEN = await unseen();

/** How much a program reads or writes at a time, on average, looked at while it waits for us. */
async function bytesAtATime(running: Running, stream: 'input' | 'output'): Promise<number> {
  let bytes = 0;
  for await (const chunk of running.stdout) {
    bytes += chunk.length;
    if (bytes < ENOUGH_BYTES) continue;
    const io = await readFile(`/proc/${running.pid}/io`, 'utf8');
    const [sum, calls] = stream === 'input' ? ['rchar', 'syscr'] : ['wchar', 'syscw'];
    const of = (name: string | undefined): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(io)?.[1]);
    return of(sum) / of(calls);
  }
  throw new Error(`it ended after ${bytes} bytes`);
}

describe("programs of PostgreSQL's", { skip: await missing('postgres-16') }, () => {
  let server: Postgres;
  let dir: string;
  before(async () => {
    server = await startPostgres(16);
    dir = await mkdtemp(join(tmpdir(), 'lifeboat-pg-'));
    await createDatabase(server, 'large', LARGE);
    await createDatabase(server, 'small', 'create table t (a int)');
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const program = (name: string): Program => ({ path: join(server.bin, name), dir: server.bin, major: 16 });

  /** A directory with a program of our own making. */
  async function pretending(script: string, name = 'stdbuf'): Promise<string> {
    const bin = await mkdtemp(join(dir, 'bin-'));
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return bin;
  }

  it('are started by stdbuf where that works without a word, and by themselves elsewhere', async () => {
    const dump = program('pg_dump');
    const works = await pretending('shift; exec "$@"');
    const complains =
      'echo "ERROR: ld.so: object \'libstdbuf.so\' cannot be preloaded: ignored." >&2; shift; exec "$@"';
    const PLACES: readonly [string, NodeJS.ProcessEnv, boolean][] = [
      ['one that works', { PATH: works }, true],
      ['none', { PATH: dir }, false],
      ['one that fails', { PATH: await pretending('exit 1') }, false],
      ['one that starts nothing', { PATH: await pretending('echo "stdbuf (GNU coreutils)"') }, false],
      ['one that starts something else', { PATH: await pretending('echo "pg_dump (PostgreSQL) 15.1"') }, false],
      ['one that complains', { PATH: await pretending(complains) }, false],
      // It names no library, so that nothing else speaks against it.
      ['one beside LD_PRELOAD', { PATH: works, LD_PRELOAD: ':' }, false],
      ['one where we happen to be', { PATH: relative(process.cwd(), works) }, false],
    ];
    for (const [what, env, used] of PLACES) {
      const ctx = liveContext({ env });
      const by = { program: join(works, 'stdbuf'), args: ['--output=131072'], env: { TMPDIR: ctx.scratch } };
      assert.deepEqual(await piped(ctx, dump, 'output'), used ? { ...dump, by } : dump, what);
    }
    const ctx = liveContext({ env: { PATH: works } });
    const command = commandOf(await piped(ctx, dump, 'output'), ['--no-password', '--port=1', '--host=127.0.0.1']);
    await assert.rejects(run(ctx, command), { code: 'program-failed', message: /^pg_dump exited with 1/ });
  });

  it('are not found where we happen to be', async () => {
    const bin = await pretending('echo "pg_odd (PostgreSQL) 16.1"', 'pg_odd');
    const wanted = { name: 'pg_odd', major: 16, orNewer: false, binDir: null };
    const from = (path: string) => findProgram(liveContext({ env: { PATH: path } }), wanted);
    assert.equal((await from(bin)).dir, bin);
    await assert.rejects(from(relative(process.cwd(), bin)), { code: 'program-missing' });
  });

  it('are asked for their version once, and again when they were replaced', async () => {
    const calls = join(dir, 'asked');
    const tells = (version: string): string => `echo . >> ${calls}; echo "pg_new (PostgreSQL) ${version}"`;
    const bin = await pretending(tells('16.1'), 'pg_new');
    const ctx = liveContext({ env: { PATH: `${bin}:${process.env.PATH}` } });
    const found = (major: number) => findProgram(ctx, { name: 'pg_new', major, orNewer: false, binDir: null });
    assert.equal((await found(16)).dir, bin);
    assert.equal((await found(16)).dir, bin);
    await writeFile(join(bin, 'pg_new'), `#!/bin/sh\n${tells('17.10')}\n`);
    await assert.rejects(found(16), { code: 'program-missing', message: /there is 17/ });
    assert.equal((await found(17)).dir, bin);
    assert.equal(await readFile(calls, 'utf8'), '.\n.\n');
  });

  it('are tried with stdbuf once in a capture, however many databases it has, with scratch space for it', async () => {
    const log = join(dir, 'calls');
    const ctx = liveContext({
      env: { PATH: await pretending(`echo "$TMPDIR" "$*" >> ${log}; shift; exec "$@"`) },
    });
    await captureOf(ctx, settingsFor(server, { databases: ['large', 'small'] }));
    const calls = (await readFile(log, 'utf8')).trim().split('\n');
    assert.deepEqual(
      calls.map((call) => call.includes('--version')),
      [true, false, false],
    );
    for (const call of calls) assert.ok(call.startsWith(`${ctx.scratch} --output=131072 `), call);
  });

  it('pass a database through their pipes in large pieces', { skip: UNSEEN }, async () => {
    const ctx = liveContext();
    const settings = settingsFor(server, { databases: ['large'] });
    const { source } = await captureOf(ctx, settings);
    const [dump, restorer] = [program('pg_dump'), program('pg_restore')];
    const dumped = async (by: Program): Promise<number> => {
      const args = ['--format=custom', '--compress=0'];
      const running = start(
        cleanContext(ctx),
        await commandFor(ctx, serverOf(settings), by, { database: 'large', args }),
      );
      return await bytesAtATime(running, 'output').finally(() => running.stop());
    };
    const restored = async (by: Program): Promise<number> => {
      const running = start(cleanContext(ctx), commandOf(by, ['--file=-', '--format=custom']), { stdin: 'pipe' });
      const fed = running.feed(source.get(ctx, 'databases/large.dump'));
      return await bytesAtATime(running, 'input').finally(async () => {
        await running.stop();
        await fed;
      });
    };
    assert.ok((await dumped(dump)) < UNBUFFERED_BYTES);
    assert.ok((await dumped(await piped(ctx, dump, 'output'))) > UNBUFFERED_BYTES);
    assert.ok((await restored(restorer)) < UNBUFFERED_BYTES);
    assert.ok((await restored(await piped(ctx, restorer, 'input'))) > UNBUFFERED_BYTES);
  });
});
