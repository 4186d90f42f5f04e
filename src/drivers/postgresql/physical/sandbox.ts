// A throw-away server on a data directory that was restored. It recovers alone, with settings of ours: those of the
// captured server may lead to its archive, its primary or its libraries.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command, SandboxNeed, ServerSpec } from '../../../core/driver.ts';
import { literal, quoted } from '../names.ts';
import type { Program } from '../programs.ts';
import { SIGNAL } from '../recovery/names.ts';

export interface PhysicalSandbox {
  readonly postgres: Program;
  /** A role that is nobody's but ours. */
  readonly superuser: string;
  readonly conf: Readonly<Record<string, string>>;
  /** For who asks the server. */
  readonly settings: unknown;
}

/** What the data directory's own postgresql.auto.conf may say, and a sandbox does not do. */
export const QUIET: Readonly<Record<string, string>> = {
  archive_command: '',
  archive_library: '',
  archive_cleanup_command: '',
  recovery_end_command: '',
  restore_command: '',
  primary_conninfo: '',
  primary_slot_name: '',
  shared_preload_libraries: '',
  session_preload_libraries: '',
  local_preload_libraries: '',
  synchronous_standby_names: '',
  external_pid_file: '',
  ssl: 'off',
  logging_collector: 'off',
  log_destination: 'stderr',
  log_statement: 'none', // what makes the role has its password
  log_min_duration_statement: '-1',
  log_min_error_statement: 'panic',
  huge_pages: 'off',
  max_prepared_transactions: '200', // those that wait in the point
  password_encryption: 'scram-sha-256',
};

export function physicalSpec(need: SandboxNeed, { postgres, superuser, conf, settings }: PhysicalSandbox): ServerSpec {
  const data = join(need.dir, 'data');
  const files = { config_file: 'postgresql.conf', hba_file: 'pg_hba.conf', ident_file: 'pg_ident.conf' };
  const places = Object.entries(files).map(([name, file]) => [name, join(need.dir, file)] as const);
  const { restore_command: _, ...others } = QUIET;
  // With a log to go through, it is what the restore has written that gives it; nobody is let in meanwhile.
  const recovers = existsSync(join(data, SIGNAL));
  const calm = recovers ? { ...others, hot_standby: 'off' } : QUIET;
  const quiet = { ...calm, ...(postgres.major >= 17 ? { summarize_wal: 'off' } : {}) };
  const all = [...Object.entries({ ...conf, ...quiet }), ...places];
  const args = ['-D', data, ...all.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  const env = { LC_ALL: 'C', TZ: 'UTC' };
  const who = quoted(superuser);
  const role = [`create role ${who}`, `alter role ${who} superuser login password ${literal(need.password)}`];
  // A single session, which also recovers: it lets us in as a role that the point does not have.
  const prepare: Command = {
    program: postgres.path,
    args: ['--single', ...args, 'template1'],
    stdin: role.map((statement) => `${statement}\n`).join(''),
    env,
  };
  return {
    files: [
      { path: files.config_file, content: '', mode: 0o600 },
      { path: files.hba_file, content: `host all ${superuser} 127.0.0.1/32 scram-sha-256\n`, mode: 0o600 },
      { path: files.ident_file, content: '', mode: 0o600 },
    ],
    restoreTo: { data_directory: data, tablespaces: { '*': join(need.dir, 'tablespaces') }, bin_dir: postgres.dir },
    prepare: [prepare],
    run: { program: postgres.path, args: [...args, '-p', String(need.port)], env },
    settings,
    unprivileged: true,
    stopSignal: 'SIGQUIT',
  };
}
