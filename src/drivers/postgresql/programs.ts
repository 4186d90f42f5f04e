// PostgreSQL's own programs: found by version, given their server and secrets by the environment alone.

import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { basename, delimiter, isAbsolute, join } from 'node:path';
import type { Command } from '../../core/driver.ts';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { run } from '../../core/process.ts';
import { passwordFor } from './passfile.ts';
import type { Server } from './settings.ts';

const VERSION_DEADLINE_MS = 10_000;
/** Of a program's standard stream, in bytes. */
const PIPED_BYTES = 128 * 1024;

export interface Program {
  readonly path: string;
  readonly dir: string;
  readonly major: number;
  /** What starts it, where it is not started by itself. */
  readonly by?: Command;
}

export interface Wanted {
  readonly name: string;
  /** Of the server that it is for. */
  readonly major: number;
  /** A newer one will do as well. */
  readonly orNewer: boolean;
  readonly binDir: string | null;
}

/** The program of that very major, else the next newer one where that will do. */
export async function findProgram(ctx: Context, wanted: Wanted): Promise<Program> {
  const found: Program[] = [];
  for (const dir of await directories(ctx, wanted.binDir)) {
    const path = join(dir, wanted.name);
    if (!(await isExecutable(path))) continue;
    const major = await majorOf(ctx, path);
    if (major === wanted.major) return { path, dir, major };
    if (major !== null) found.push({ path, dir, major });
  }
  const [newer] = found.filter(({ major }) => major > wanted.major).sort((a, b) => a.major - b.major);
  if (newer && wanted.orNewer) return newer;
  const majors = [...new Set(found.map(({ major }) => major))];
  const there = majors.length === 0 ? 'there is none' : `there is ${majors.join(', ')}`;
  const named = wanted.binDir === null || found.some(({ dir }) => dir === wanted.binDir);
  const own = named ? '' : `, and none in ${wanted.binDir}`;
  throw new Failure('program-missing', `${wanted.name} of PostgreSQL ${wanted.major} is needed, ${there}${own}`, {
    hint:
      wanted.name === 'postgres'
        ? `install postgresql-${wanted.major} on this machine, or name the directory of its programs as bin_dir`
        : `install postgresql-client-${wanted.major}, or name its directory as bin_dir`,
  });
}

async function directories(ctx: Context, binDir: string | null): Promise<Set<string>> {
  const usual = [
    ...(await versioned('/usr/lib/postgresql', 'bin')), // Debian
    ...(await versioned('/usr', 'bin', /^pgsql-\d+$/)), // Red Hat
    ...(await versioned('/opt/homebrew/opt', 'bin', /^(postgresql|libpq)(@\d+)?$/)),
    ...(await versioned('/Applications/Postgres.app/Contents/Versions', 'bin')),
    '/usr/local/pgsql/bin',
    ...(await versioned('/usr/libexec', '', /^postgresql\d+$/)), // Alpine
  ];
  return new Set([...(binDir === null ? [] : [binDir]), ...usual, ...pathOf(ctx)]);
}

/** Without entries that depend on the directory we are in: who can write there would be given passwords. */
function pathOf(ctx: Context): string[] {
  return (ctx.env.PATH ?? '').split(delimiter).filter(isAbsolute);
}

async function versioned(parent: string, below: string, pattern = /^\d+$/): Promise<string[]> {
  try {
    const names = await readdir(parent);
    return names.filter((name) => pattern.test(name)).map((name) => join(parent, name, below));
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error))) return [];
    throw error;
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false; // whatever the reason, it is no use to us
  }
}

/** By file as it is. A restore looks for the same few programs three times, 20 ms for each. */
const majors = new Map<string, number>();

async function majorOf(ctx: Context, path: string): Promise<number | null> {
  const facts = await stat(path).catch(() => null); // gone since it was found
  if (!facts) return null;
  const file = [path, facts.ino, facts.size, facts.mtimeMs].join(' ');
  const major = majors.get(file) ?? (await versionOf(ctx, { path }))?.major ?? null;
  if (major !== null) majors.set(file, major);
  return major;
}

/** Null for a program that does not even tell its version, such as one of another architecture. */
async function versionOf(
  ctx: Context,
  program: Pick<Program, 'path' | 'by'>,
): Promise<{ major: number; complaints: string[] } | null> {
  const command = commandOf(program, ['--version']);
  const complaints: string[] = [];
  const options = { deadlineMs: VERSION_DEADLINE_MS, onStderr: (line: string) => void complaints.push(line) };
  try {
    const [, major] = /\(PostgreSQL\) (\d+)/.exec(await run(cleanContext(ctx), command, options)) ?? [];
    return major === undefined ? null : { major: Number(major), complaints };
  } catch (error) {
    ctx.signal.throwIfAborted();
    ctx.log.debug('program not usable', { program: command.program, args: command.args, error });
    return null;
  }
}

/**
 * A program for whom all of a database goes through a pipe. By itself it writes or reads 4 KiB at a time, which costs a
 * tenth of a capture; where coreutils' stdbuf is, and starts it without a word, it does 128. One that can't do its work
 * says so at every start, which would hide why the program failed.
 */
export async function piped(ctx: Context, program: Program, stream: 'input' | 'output'): Promise<Program> {
  if (ctx.env.LD_PRELOAD) return program; // it is how stdbuf works, and not every one keeps what is there
  for (const dir of pathOf(ctx)) {
    const stdbuf = join(dir, 'stdbuf');
    if (!(await isExecutable(stdbuf))) continue;
    // One in Rust unpacks its library at each start, and leaves it.
    const by = { program: stdbuf, args: [`--${stream}=${PIPED_BYTES}`], env: { TMPDIR: ctx.scratch } };
    const version = await versionOf(ctx, { ...program, by });
    return version?.major === program.major && version.complaints.length === 0 ? { ...program, by } : program;
  }
  return program;
}

export function commandOf({ path, by }: Pick<Program, 'path' | 'by'>, args: readonly string[]): Command {
  return by ? { ...by, args: [...by.args, path, ...args], name: basename(path) } : { program: path, args };
}

/** The environment without what would lead libpq elsewhere, and with its own messages in English. */
export function cleanContext(ctx: Context): Context {
  const kept = Object.entries(ctx.env).filter(([name]) => !name.startsWith('PG') && !name.startsWith('LC_'));
  return { ...ctx, env: { ...Object.fromEntries(kept), LC_ALL: 'C' } };
}

/** A command for a server. Its arguments name neither the server nor the database, and no secret. */
export async function commandFor(
  ctx: Context,
  server: Server,
  program: Program,
  options: { database: string; args: readonly string[] },
): Promise<Command> {
  const password = await passwordFor(ctx, server, options.database);
  const { tls } = server;
  const files = { PGSSLROOTCERT: tls.ca, PGSSLCERT: tls.cert, PGSSLKEY: tls.key, PGPASSWORD: password };
  const command = commandOf(program, ['--no-password', ...options.args]);
  const env = {
    ...command.env,
    PGHOST: server.host,
    PGPORT: String(server.port),
    PGUSER: server.user,
    PGDATABASE: options.database,
    PGSSLMODE: tls.mode,
    PGCONNECT_TIMEOUT: '15',
    PGAPPNAME: 'lifeboat',
    ...Object.fromEntries(Object.entries(files).filter((each): each is [string, string] => each[1] !== null)),
  };
  return { ...command, env };
}
