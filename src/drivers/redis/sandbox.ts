// A throw-away server that a point is restored into.

import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { SandboxNeed, ServerSpec } from '../../core/driver.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { run } from '../../core/process.ts';
import { canLoad, rdbVersionOf } from './server.ts';

const PROGRAMS = ['redis-server', 'valkey-server'] as const;
/** More than servers have by default, so that a point of one that was given more fits. */
const DATABASES = 1024;

export async function serverSpec(ctx: Context, { version, dir, port, password }: SandboxNeed): Promise<ServerSpec> {
  const program = await programFor(ctx, version);
  const file = join(dir, 'server.conf');
  const lines = [
    'bind 127.0.0.1',
    `port ${port}`,
    'protected-mode yes',
    `requirepass ${password}`,
    `dir ${quoted(dir)}`,
    `databases ${DATABASES}`,
    'save ""',
    'appendonly no',
    'daemonize no',
    'repl-diskless-sync-delay 0',
    'sanitize-dump-payload yes', // what is loaded may be hostile
    'enable-debug-command local', // nothing may expire while it is compared
  ];
  return {
    files: [{ path: file, content: `${lines.join('\n')}\n`, mode: 0o600 }],
    prepare: [],
    run: { program, args: [file], cwd: dir },
    settings: { host: '127.0.0.1', port, password, frozen: true },
    unprivileged: true,
    stopSignal: 'SIGTERM',
  };
}

/** The nearest of those in PATH that can read the version's data: of the same kind and release, else a newer one. */
async function programFor(ctx: Context, version: string): Promise<string> {
  const wanted = rdbVersionOf(version);
  const found: { program: string; version: string; distance: number }[] = [];
  for (const program of await programsIn(ctx, ctx.env.PATH ?? '')) {
    const each = await versionOf(ctx, program);
    if (each === null || !canLoad(each, wanted)) continue;
    const same = each.split('.').slice(0, 2).join('.') === version.split('.').slice(0, 2).join('.');
    const distance = same ? 0 : rdbVersionOf(each).family === wanted.family ? 1 : 2;
    found.push({ program, version: each, distance });
  }
  const [best] = found.sort((a, b) => a.distance - b.distance);
  if (best) return best.program;
  throw new Failure('program-missing', `no server in PATH can load the data of ${version}`, {
    hint: `install ${wanted.family}-server ${version.replace(/^\D+/, '')} or newer on this machine`,
  });
}

async function programsIn(ctx: Context, path: string): Promise<string[]> {
  const found: string[] = [];
  for (const dir of path.split(delimiter)) {
    for (const name of PROGRAMS) {
      if (dir === '' || ctx.signal.aborted) continue;
      const program = join(dir, name);
      const runs = await access(program, constants.X_OK).then(
        () => true,
        () => false, // not there, or not for us
      );
      if (runs) found.push(program);
    }
  }
  return found;
}

/** 'Redis server v=7.0.15 sha=…' */
async function versionOf(ctx: Context, program: string): Promise<string | null> {
  try {
    const said = await run(ctx, { program, args: ['--version'] }, { deadlineMs: 10_000 });
    const [, family, number] = /^(Redis|Valkey) server v=([\d.]+)/.exec(said) ?? [];
    return family === undefined ? null : `${family.toLowerCase()} ${number}`;
  } catch (error) {
    if (isFailure(error, 'program-failed') || isFailure(error, 'timeout')) return null; // it can't run here
    throw error;
  }
}

function quoted(path: string): string {
  return `"${path.replace(/["\\]/g, '\\$&')}"`;
}
