// A throw-away server to restore into: safe from nothing and quick, on loopback only, archiving nothing.

import { join } from 'node:path';
import type { SandboxNeed, ServerSpec } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { physicalSpec } from './physical/sandbox.ts';
import { findProgram } from './programs.ts';
import { binDirOf } from './settings.ts';

/** Not `postgres`: that role comes from the point, with its own password. */
const SUPERUSER = 'lifeboat_sandbox';

const CONF: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  archive_mode: 'off',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_replication_slots: '0',
  max_logical_replication_workers: '0', // a subscription in the point must not reach its publisher
  fsync: 'off',
  full_page_writes: 'off',
  synchronous_commit: 'off',
  autovacuum: 'off',
  shared_buffers: '128MB',
  maintenance_work_mem: '128MB',
  max_wal_size: '4GB',
  max_locks_per_transaction: '512',
  max_connections: '40',
};

export async function sandboxSpec(ctx: Context, need: SandboxNeed): Promise<ServerSpec> {
  const major = Number.parseInt(need.version, 10);
  if (!Number.isInteger(major)) throw new Failure('version-mismatch', `${need.version} is no version of PostgreSQL`);
  const binDir = need.settings === undefined ? null : binDirOf(need.settings);
  const postgres = await findProgram(ctx, { name: 'postgres', major, orNewer: false, binDir });
  const { path, dir } = postgres;
  const server = {
    host: '127.0.0.1',
    port: need.port,
    user: SUPERUSER,
    password: need.password,
    bin_dir: dir,
    tls: { mode: 'disable' },
  };
  if (need.method === 'physical') {
    return physicalSpec(need, { postgres, superuser: SUPERUSER, conf: CONF, settings: server });
  }
  const passwordFile = join(need.dir, 'password');
  const data = join(need.dir, 'data');
  const env = { LC_ALL: 'C', TZ: 'UTC' };
  const settings = Object.entries(CONF).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  return {
    files: [{ path: passwordFile, content: need.password, mode: 0o600 }],
    prepare: [
      {
        program: join(dir, 'initdb'),
        args: ['-D', data, '-U', SUPERUSER, '-E', 'UTF8', '--locale=C', '--auth=scram-sha-256', '--no-sync'].concat(
          `--pwfile=${passwordFile}`,
        ),
        env,
      },
    ],
    run: { program: path, args: ['-D', data, '-p', String(need.port), ...settings], env },
    settings: server,
    unprivileged: true,
    stopSignal: 'SIGQUIT',
  };
}
