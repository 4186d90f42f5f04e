// pgBackRest as people set it up: an encrypted repository on this machine, two processes, zstd. It is run as who owns
// the server, as its files are that user's.

import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { query } from '../test/e2e/postgres.ts';
import { installed, unprivilegedUser } from '../test/servers/install.ts';
import type { Postgres } from '../test/servers/postgres.ts';
import { DEADLINE_MS } from './follower.ts';
import { type Figures, measure } from './measure.ts';
import type { Peer } from './peers.ts';

const STANZA = 'bench';

/** The last that Debian 12 has; it knows PostgreSQL up to 15. */
export const PGBACKREST_MAJOR = 15;

export async function pgBackRestPeer(): Promise<Peer> {
  const program = (await pgBackRestProgram()) ?? 'pgbackrest';
  return { name: 'pgBackRest', program, args: ['version'], optional: true };
}

/** Null where it can't be had. */
export async function pgBackRestProgram(): Promise<string | null> {
  return await installed('pgbackrest').catch(() => null);
}

export interface PgBackRest {
  /** An empty repository, which the server's log goes to from now on. */
  begin(repository: string): Promise<void>;
  run(...args: string[]): Promise<Figures>;
  /** For `restore_command` of a server on that directory. */
  fetchCommand(data: string): string;
}

/** What a server that is backed up must be started with; `dir` gets its socket, and files of pgBackRest. */
export function archivingConf(dir: string): Readonly<Record<string, string>> {
  chmodSync(dir, 0o711);
  ownDirectory(placeIn(dir));
  return { archive_mode: 'on', archive_command: 'true', unix_socket_directories: placeIn(dir) };
}

function placeIn(dir: string): string {
  return join(dir, 'pgbackrest');
}

/** Of the user that servers run as. */
export function ownDirectory(path: string): string {
  const owner = unprivilegedUser();
  mkdirSync(path, { recursive: true });
  if (owner) chownSync(path, owner.uid, owner.gid);
  return path;
}

/** `besides`: what else is done with each segment (%p, %f). */
export function pgBackRestFor(server: Postgres, dir: string, program: string, besides = 'true'): PgBackRest {
  const owner = unprivilegedUser();
  const file = join(placeIn(dir), 'pgbackrest.conf');
  const base = [`--config=${file}`, `--stanza=${STANZA}`];
  const env = { ...process.env, PGPASSWORD: server.password };
  const as = owner ? ['--reuid', String(owner.uid), '--regid', String(owner.gid), '--clear-groups', program] : [];
  const run = (...args: string[]): Promise<Figures> =>
    measure(owner ? 'setpriv' : program, [...as, ...base, ...args], env);
  return {
    run,
    async begin(repository) {
      writeFileSync(file, configuration(server, placeIn(dir), ownDirectory(repository)));
      await run('stanza-create');
      const push = [program, ...base, 'archive-push', '%p'].join(' ');
      await archiveBy(server, `${besides} && ${push}`);
    },
    fetchCommand(data) {
      const places = [`--pg1-path=${data}`, `--spool-path=${ownDirectory(`${data}.spool`)}`];
      return [program, ...base, ...places, 'archive-get', '%f', '"%p"'].join(' ');
    },
  };
}

export async function archiveBy(server: Postgres, command: string): Promise<void> {
  await query(server.url, `ALTER SYSTEM SET archive_command = '${command}'`);
  await query(server.url, 'SELECT pg_reload_conf()');
}

function configuration({ dir, port, user }: Postgres, place: string, repository: string): string {
  return `[global]
repo1-path=${repository}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=bench
compress-type=zst
compress-level=3
process-max=2
start-fast=y
log-path=${place}
lock-path=${join(place, 'lock')}
spool-path=${join(place, 'spool')}
log-level-console=off
log-level-file=off
[global:archive-get]
archive-async=y
[${STANZA}]
pg1-path=${dir}
pg1-socket-path=${place}
pg1-port=${port}
pg1-user=${user}
pg1-database=postgres
`;
}

/** What was written so far lies in the archive, and nobody works on that any more. */
export async function archived(server: Postgres): Promise<void> {
  const [written] = await query(server.url, 'SELECT pg_walfile_name(pg_switch_wal()) AS file');
  const file = String(written?.file);
  const done = `SELECT coalesce(last_archived_wal >= '${file}', false) AS is FROM pg_stat_archiver`;
  for (const at = Date.now(); ; await delay(200)) {
    const [row] = await query(server.url, done);
    if (row?.is === true) return;
    if (Date.now() - at > DEADLINE_MS) throw new Error(`${file} is not archived: ${server.output()}`);
  }
}
