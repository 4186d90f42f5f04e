// The settings of a PostgreSQL component, and the one exact shape that the rest of the driver works with.

import { resolve } from 'node:path';
import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { InventoryLevel } from '../../core/model.ts';
import { duration, parseSettings, size } from '../../core/settings.ts';

/** Unless told otherwise. */
const USER = 'postgres';
const TLS_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
export type TlsMode = (typeof TLS_MODES)[number];

const tls = z.strictObject({
  mode: z.enum(TLS_MODES).optional().describe("As libpq's sslmode; verify-full when ca is given, else prefer"),
  ca: z.string().optional().describe('File of the certificates that the server is checked against'),
  cert: z.string().optional().describe("File of the client's certificate"),
  key: z.string().optional().describe("File of the client certificate's key"),
});

/** What BASE_BACKUP takes. */
const RATE_MIN = 32 * 1024;
const RATE_MAX = 1024 ** 3;

const absolute = z
  .string()
  .regex(/^\/(?!.*(?:^|\/)\.\.?(?:\/|$))[^\0]*[^\0/]$/, "an absolute path without '.', '..' and a slash at its end");

export const postgresqlSettings = z.strictObject({
  url: z.string().optional().describe('postgresql://user:password@host:port/database instead of the fields'),
  host: z.string().min(1).optional().describe('Host name, address, or the directory of a Unix socket'),
  port: z.number().int().min(1).max(65535).optional().describe('5432 unless given'),
  user: z.string().min(1).optional().describe('The role to connect as; postgres unless given'),
  password: z
    .string()
    .optional()
    .describe('Without it PGPASSWORD and then the password file (PGPASSFILE or ~/.pgpass) are asked'),
  databases: z
    .union([z.literal('all'), z.array(z.string().min(1)).min(1)])
    .optional()
    .describe("Names of databases, or all; the URL's database, else all, unless given"),
  capture: z
    .array(z.enum(['logical', 'physical']))
    .min(1)
    .default(['logical'])
    .describe('logical: each database by pg_dump; physical: all of the server, file by file; or both'),
  max_rate: size
    .refine((bytes) => bytes >= RATE_MIN && bytes <= RATE_MAX, 'a size from 32KiB to 1GiB')
    .optional()
    .describe('physical: what the server sends in a second at most; no limit unless given'),
  slot: z
    .string()
    .regex(/^[a-z0-9_]{1,63}$/, 'up to 63 small letters, digits and underscores')
    .default('lifeboat_follow')
    .describe('Name of the replication slot of follow; each that follows the same server needs one of its own'),
  incremental: z
    .enum(['auto', 'off'])
    .default('auto')
    .describe('physical: auto asks a server that notes what changes (17, summarize_wal) for that alone; off reads all'),
  data_directory: absolute
    .optional()
    .describe('In place of a server: the directory that a physical capture is restored to'),
  tablespaces: z
    .record(z.string(), absolute)
    .default({})
    .describe("Where a restore to a directory puts tablespaces, by where they were; '*' is a directory for the others"),
  tls: tls.optional().describe('Encryption of the connection'),
  inventory: z
    .enum(['full', 'sample', 'counts'])
    .default('full')
    .describe('full digests every row, sample a part of the rows of large tables, counts none'),
  lock_timeout: duration.prefault('1m').describe('How long a capture waits for a table that somebody has locked'),
  deadline: duration.prefault('24h').describe('How long a capture or a restore may take'),
  bin_dir: z
    .string()
    .optional()
    .describe('Directory of pg_dump and pg_restore, and of postgres for drills; searched for unless given'),
  jobs: z.number().int().min(1).max(64).default(2).describe('Parallel jobs of a restore'),
});

export type CaptureMethod = z.output<typeof postgresqlSettings>['capture'][number];

/** The settings, checked and with everything filled in. */
export interface Server {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Null when the environment or the password file may have it. */
  readonly password: string | null;
  readonly databases: readonly string[] | 'all';
  readonly tls: {
    readonly mode: TlsMode;
    readonly ca: string | null;
    readonly cert: string | null;
    readonly key: string | null;
  };
  readonly methods: readonly CaptureMethod[];
  readonly kilobytesPerSecondMax: number | null;
  readonly slot: string;
  /** What did not change since the earlier point is not read again, where the server can tell. */
  readonly incremental: boolean;
  readonly inventory: InventoryLevel;
  readonly lockTimeoutMs: number;
  readonly deadlineMs: number;
  readonly binDir: string | null;
  readonly jobs: number;
}

export function serverOf(settings: unknown): Server {
  const given = parseSettings(postgresqlSettings, settings, 'postgresql');
  const url = given.url === undefined ? null : parseUrl(given.url);
  const host = given.host ?? url?.host;
  if (host === undefined) throw new Failure('settings-invalid', 'postgresql: neither url nor host is given');
  const files = encryptionOf(given);
  return {
    host,
    port: given.port ?? url?.port ?? 5432,
    user: given.user ?? url?.user ?? USER,
    password: given.password ?? url?.password ?? null,
    databases: given.databases ?? (url?.database ? [url.database] : 'all'),
    tls: {
      mode: tlsMode(files),
      ca: files.ca ?? null,
      cert: files.cert ?? null,
      key: files.key ?? null,
    },
    methods: given.capture,
    kilobytesPerSecondMax: given.max_rate === undefined ? null : Math.floor(given.max_rate / 1024),
    slot: given.slot,
    incremental: given.incremental === 'auto',
    inventory: given.inventory,
    lockTimeoutMs: given.lock_timeout,
    deadlineMs: given.deadline,
    binDir: given.bin_dir ?? null,
    jobs: given.jobs,
  };
}

/** Settings of a component that names a directory in place of a server. */
export interface DirectorySettings {
  readonly path: string;
  /** Where tablespaces go, by where they were. */
  readonly tablespaces: Readonly<Record<string, string>>;
  readonly binDir: string | null;
  readonly deadlineMs: number;
  /** Who comes to a server that is started on it, and to what. */
  readonly user: string;
  readonly databases: readonly string[] | 'all';
}
/** Null unless the settings name a directory in place of a server. */
export function directoryOf(settings: unknown): DirectorySettings | null {
  const given = parseSettings(postgresqlSettings, settings, 'postgresql');
  if (given.data_directory === undefined) return null;
  if (given.url !== undefined || given.host !== undefined) {
    throw new Failure('settings-invalid', 'postgresql: data_directory takes the place of url and host', {
      hint: 'leave it out, and restore with --to COMPONENT=/path',
    });
  }
  const { data_directory: path, tablespaces, bin_dir, deadline, user = USER, databases = 'all' } = given;
  return { path, tablespaces, binDir: bin_dir ?? null, deadlineMs: deadline, user, databases };
}

/** Of a server or a directory. */
export function binDirOf(settings: unknown): string | null {
  return parseSettings(postgresqlSettings, settings, 'postgresql').bin_dir ?? null;
}

type Encryption = z.output<typeof tls>;

function encryptionOf(given: { url?: string | undefined; tls?: Encryption | undefined }): Encryption {
  return { ...(given.url === undefined ? {} : parseUrl(given.url).tls), ...given.tls };
}

/** As libpq: with something to check the server against, `require` checks it. */
function tlsMode({ mode, ca }: Encryption): TlsMode {
  if (ca === undefined) return mode ?? 'prefer';
  return mode === undefined ? 'verify-full' : mode === 'require' ? 'verify-ca' : mode;
}

/**
 * The same component on another server: the database of the URL (if any) takes the place of the only one, and
 * who is to connect stays the same unless the URL tells, and so does how the connection is encrypted.
 */
export function retargeted(settings: unknown, target: string): unknown {
  if (target.startsWith('/')) return inDirectory(settings, resolve(target));
  const { data_directory, ...served } = parseSettings(given, settings, 'postgresql');
  if (data_directory !== undefined) return { ...served, url: target };
  const before = serverOf(settings);
  const { database, user, tls: told } = parseUrl(target);
  if (database !== null && before.databases !== 'all' && before.databases.length > 1) {
    throw new Failure(
      'settings-invalid',
      `the target names one database, the component has ${before.databases.length}`,
      {
        hint: "leave the database out of the target's URL",
      },
    );
  }
  const { url: _url, host: _host, port: _port, tls: _tls, ...kept } = parseSettings(given, settings, 'postgresql');
  const { user: _user, password: _password, ...others } = kept;
  const login = user === undefined ? { user: before.user, ...passwordOf(before) } : {};
  const { cert, key, ...checked } = encryptionOf(parseSettings(postgresqlSettings, settings, 'postgresql'));
  // The certificate of a client is one user's.
  const files = user === undefined ? { cert, key } : {};
  const encryption = { tls: { ...checked, ...files, ...told } };
  const databases = database === null ? before.databases : [database];
  return { ...others, ...login, ...encryption, databases, url: target };
}

/** What is left says how a directory is filled, and who comes to a server that is started on it. */
function inDirectory(settings: unknown, path: string): unknown {
  const { tablespaces, bin_dir, deadline } = parseSettings(given, settings, 'postgresql');
  const { user, databases } = directoryOf(settings) ?? serverOf(settings);
  const kept = Object.entries({ tablespaces, bin_dir, deadline }).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(kept), user, databases, data_directory: path };
}

/** Settings as they were written: parsed only to know that they are an object. */
const given = z.record(z.string(), z.unknown());

function passwordOf(server: Server): { password?: string } {
  return server.password === null ? {} : { password: server.password };
}

interface Place {
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string | null;
  readonly tls: Encryption;
}

const URL_TLS = { sslmode: 'mode', sslrootcert: 'ca', sslcert: 'cert', sslkey: 'key' } as const;

function parseUrl(text: string): Place {
  const refuse = (why: string): Failure => new Failure('settings-invalid', `postgresql: the url ${why}`);
  if (!/^postgres(ql)?:\/\//.test(text)) throw refuse('does not begin with postgresql://');
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw refuse('can not be read'); // the cause would tell the password
  }
  const told: Record<string, string> = {};
  for (const [name, value] of url.searchParams) {
    const field = Object.hasOwn(URL_TLS, name) ? URL_TLS[name as keyof typeof URL_TLS] : undefined;
    if (field === undefined && name !== 'host') throw refuse(`has an unknown parameter ${name}`);
    told[field ?? name] = value;
  }
  const { host, ...rest } = told;
  const files = tls.safeParse(rest);
  if (!files.success) throw refuse(`has an unknown sslmode ${rest.mode}`);
  const database = decodeURIComponent(url.pathname.replace(/^\//, ''));
  return {
    host: host ?? (url.hostname === '' ? undefined : decodeURIComponent(url.hostname.replace(/^\[(.*)\]$/, '$1'))),
    port: url.port === '' ? undefined : Number(url.port),
    user: url.username === '' ? undefined : decodeURIComponent(url.username),
    password: url.password === '' ? undefined : decodeURIComponent(url.password),
    database: database === '' ? null : database,
    tls: files.data,
  };
}
