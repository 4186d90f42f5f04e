// A throw-away server that a point is restored into: of the kind that was captured if there is one, else another.

import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Command, SandboxNeed, ServerSpec } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';

const HOST = '127.0.0.1';
const ACCESS_KEY = 'lifeboat';

interface Kind {
  readonly program: string;
  /** What it calls itself. */
  readonly said: RegExp;
  readonly command: (program: string, need: SandboxNeed) => Command;
}

// In the order of choice where the captured one is not there.
const KINDS: readonly Kind[] = [
  {
    program: 'minio',
    said: /minio/i,
    command: (program, { dir, port, password }) => ({
      program,
      args: ['server', join(dir, 'data'), '--address', `${HOST}:${port}`],
      env: {
        MINIO_ROOT_USER: ACCESS_KEY,
        MINIO_ROOT_PASSWORD: password,
        MINIO_BROWSER: 'off',
        MINIO_UPDATE: 'off',
        HOME: dir,
      },
    }),
  },
  {
    program: 'versitygw',
    said: /versitygw/i,
    command: (program, { dir, port, password }) => ({
      program,
      args: [
        '--port',
        `${HOST}:${port}`,
        '--quiet',
        'posix',
        '--versioning-dir',
        join(dir, 'versions'),
        join(dir, 'data'),
      ],
      env: { ROOT_ACCESS_KEY: ACCESS_KEY, ROOT_SECRET_KEY: password },
    }),
  },
];

export async function serverSpec(ctx: Context, need: SandboxNeed): Promise<ServerSpec> {
  const { kind, program } = await programFor(ctx, need.version);
  return {
    files: [],
    prepare: [{ program: 'mkdir', args: [join(need.dir, 'data'), join(need.dir, 'versions')] }],
    run: kind.command(program, need),
    settings: {
      endpoint: `http://${HOST}:${need.port}`,
      access_key: ACCESS_KEY,
      secret_key: need.password,
      ...coverage(need.settings),
    },
    unprivileged: true,
    stopSignal: 'SIGTERM',
  };
}

/** What of a bucket is looked at is what was captured; all other settings are of the sandbox. */
function coverage(settings: unknown): object {
  const { buckets = 'all', versions = false, tags = 'auto' } = (settings ?? {}) as Record<string, unknown>;
  return { buckets, versions, tags };
}

async function programFor(ctx: Context, version: string): Promise<{ kind: Kind; program: string }> {
  const path = (ctx.env.PATH ?? '').split(delimiter).filter((dir) => dir !== '');
  for (const kind of KINDS.toSorted((a, b) => Number(b.said.test(version)) - Number(a.said.test(version)))) {
    for (const dir of path) {
      const program = join(dir, kind.program);
      const runs = await access(program, constants.X_OK).then(
        () => true,
        () => false, // not there, or not for us
      );
      if (runs) return { kind, program };
    }
  }
  const names = KINDS.map(({ program }) => program).join(' or ');
  throw new Failure('program-missing', `no ${names} in PATH to restore the objects of ${version} into`, {
    hint: `install ${names} on this machine`,
  });
}
