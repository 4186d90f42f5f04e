import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, chown, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDir, installed, unprivilegedUser } from './install.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';
import { certificateIn } from './tls.ts';

const exec = promisify(execFile);

export type PostgresMajor = 15 | 16 | 17 | 18;
export const postgresMajors: readonly PostgresMajor[] = [15, 16, 17, 18];

export interface PostgresOptions {
  /** Lines of postgresql.conf. */
  readonly conf?: Readonly<Record<string, string>>;
  /** Only encrypted connections are let in. Needs a server that was built with it: 15 is. */
  readonly tls?: boolean;
  /** Pages carry checksums: the default of 18 only. */
  readonly checksums?: boolean;
  /** With a system identifier of its own; the others share one per major, because initdb takes a second. */
  readonly ownIdentity?: boolean;
}
export interface Postgres extends Server {
  readonly port: number;
  readonly host: string;
  readonly user: string;
  readonly password: string;
  /** Of the database `postgres`. */
  readonly url: string;
  /** The directory of its client programs. */
  readonly bin: string;
  /** Its data directory. */
  readonly dir: string;
  readonly caFile: string | null;
}

const user = 'postgres';
const password = 'sesame of the tests';
/** Nothing here must survive a power cut, and tests run side by side on few processors. */
const CONF: Readonly<Record<string, string>> = {
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '64MB',
  max_wal_size: '512MB',
  unix_socket_directories: '',
  dynamic_shared_memory_type: 'mmap', // in its own directory, so that a killed one leaves nothing elsewhere
  listen_addresses: host,
  timezone: 'UTC',
  log_min_messages: 'warning',
};

export async function startPostgres(major: PostgresMajor, options: PostgresOptions = {}): Promise<Postgres> {
  const bin = await installed(`postgres-${major}`);
  const owner = unprivilegedUser();
  const home = temporaryDir(`postgres-${major}`, owner);
  const dir = join(home, 'data');
  const template = options.ownIdentity ? await initialised(bin, join(home, 'template')) : await templateOf(bin);
  await exec('cp', ['-a', '--reflink=auto', template, dir]);
  if (options.checksums) await checksummed(bin, dir);
  const certificate = options.tls ? await certificateIn(home, owner) : null;
  if (certificate) await encryptedOnly(dir);
  const ssl = certificate ? { ssl: 'on', ssl_cert_file: certificate.certFile, ssl_key_file: certificate.keyFile } : {};
  const conf = Object.entries({ ...CONF, ...ssl, ...options.conf });
  await appendFile(
    join(dir, 'postgresql.conf'),
    conf.map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`).join(''),
  );
  return await served(bin, dir, certificate?.caFile ?? null, () => removeDir(home));
}

/** On a data directory that is there, and stays there when the server ends. */
export async function startPostgresOn(major: PostgresMajor, dir: string): Promise<Postgres> {
  return await served(await installed(`postgres-${major}`), dir, null, () => undefined);
}

async function served(bin: string, dir: string, caFile: string | null, whenEnded: () => void): Promise<Postgres> {
  return await startOnFreePorts(1, async (port = 0) => {
    const launch = {
      program: join(bin, 'postgres'),
      args: ['-D', dir, '-p', String(port)],
      user: unprivilegedUser(),
      stopSignal: 'SIGINT',
      disposeSignal: 'SIGQUIT', // at once, and yet it gives its shared memory back
    } as const;
    const server = await startServer(launch, () => answers(bin, port));
    const url = `postgresql://${user}:${encodeURIComponent(password)}@${host}:${port}/postgres`;
    const parts = { port, host, user, password, url, bin, dir, caFile };
    return {
      ...server,
      ...parts,
      get pid() {
        return server.pid;
      },
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        whenEnded();
      },
    };
  });
}

async function answers(bin: string, port: number): Promise<boolean> {
  try {
    await exec(join(bin, 'pg_isready'), ['-q', '-h', host, '-p', String(port), '-t', '5']);
    return true;
  } catch {
    return false; // it says so by its exit code
  }
}

/** A data directory to copy, made once per build of the server. */
async function templateOf(bin: string): Promise<string> {
  const { stdout: version } = await exec(join(bin, 'postgres'), ['--version']);
  const key = createHash('sha256').update(`${bin}\n${version}\n${password}`).digest('hex').slice(0, 12);
  const parent = join(cacheDir, 'templates');
  const template = join(parent, key);
  if (existsSync(template)) return template;
  await mkdir(parent, { recursive: true, mode: 0o755 });
  const staging = await mkdtemp(join(parent, '.staging-'));
  try {
    const owner = unprivilegedUser();
    if (owner) await chown(staging, owner.uid, owner.gid);
    const made = await initialised(bin, join(staging, 'data'));
    await rename(made, template).catch((error: unknown) => {
      if (!existsSync(template)) throw error; // else somebody was faster
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return template;
}

async function initialised(bin: string, dir: string): Promise<string> {
  const owner = unprivilegedUser();
  const passwordFile = `${dir}.password`;
  await writeFile(passwordFile, password);
  const initdb = ['-D', dir, '-U', user, '-E', 'UTF8', '--locale=C', '--no-sync', '--auth=scram-sha-256'];
  await exec(join(bin, 'initdb'), [...initdb, `--pwfile=${passwordFile}`], { ...(owner ?? {}), env: { LC_ALL: 'C' } });
  await rm(passwordFile);
  return dir;
}

async function checksummed(bin: string, dir: string): Promise<void> {
  const program = join(bin, 'pg_checksums');
  const options = { ...(unprivilegedUser() ?? {}), env: { LC_ALL: 'C' } };
  const { stdout } = await exec(join(bin, 'pg_controldata'), ['-D', dir], options);
  if (/Data page checksum version: +0/.test(stdout)) await exec(program, ['--enable', '--no-sync', '-D', dir], options);
}

async function encryptedOnly(dir: string): Promise<void> {
  const rules = ['all', 'replication'].map((what) => `hostssl ${what} all ${host}/32 scram-sha-256\n`);
  await writeFile(join(dir, 'pg_hba.conf'), rules.join(''));
}
