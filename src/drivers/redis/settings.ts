// Settings of a component of kind redis: Redis and Valkey.

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { z } from 'zod';
import { Failure, messageOf } from '../../core/errors.ts';
import type { InventoryLevel } from '../../core/model.ts';
import { duration, parseSettings } from '../../core/settings.ts';

const tlsSettings = z.strictObject({
  ca_file: z.string().optional().describe('certificates to trust instead of the system’s, a PEM file'),
  cert_file: z.string().optional().describe('our certificate, where the server asks for one, a PEM file'),
  key_file: z.string().optional().describe('the key of our certificate, a PEM file'),
  server_name: z.string().optional().describe('the name that the server’s certificate is made out to'),
});

export const redisSettings = z.strictObject({
  url: z.string().optional().describe('redis://[user[:password]@]host[:port][/database], rediss:// for TLS'),
  host: z.string().optional().describe('the server’s name or address, where no url says it'),
  port: z.number().int().min(1).max(65535).optional().describe('6379 by default'),
  username: z.string().optional().describe('an ACL user; without one the password is the default user’s'),
  password: z.string().optional().describe('of the user, or what requirepass says'),
  tls: z.union([z.boolean(), tlsSettings]).optional().describe('encrypt the connection: true, or its files'),
  databases: z
    .array(z.number().int().nonnegative())
    .nonempty()
    .optional()
    .describe('the numbers of the databases that are compared and restored; all by default'),
  inventory: z
    .enum(['full', 'counts'])
    .default('full')
    .describe('full: every key and value is digested; counts: keys are only counted'),
  timeout: duration.prefault('30s').describe('how long the server may say nothing'),
});

/** What only sandboxes need: nothing passes away in them, so that an old point can be compared. */
const openSettings = redisSettings.extend({ frozen: z.boolean().default(false) });

/** Where and how to connect. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** The database that a connection begins in. */
  readonly database: number;
  readonly tls: boolean | z.output<typeof tlsSettings>;
  readonly timeoutMs: number;
}
export interface Settings extends Endpoint {
  readonly databases: readonly number[] | null;
  readonly inventory: InventoryLevel;
  readonly frozen: boolean;
}

export function readSettings(settings: unknown): Settings {
  const { url, databases, inventory, timeout, frozen, ...fields } = parseSettings(openSettings, settings, 'redis');
  const fromUrl = url === undefined ? null : readUrl(url);
  for (const name of ['host', 'port'] as const) {
    if (fromUrl && fields[name] !== undefined) {
      throw new Failure('settings-invalid', `redis: ${name}: the url says it already`);
    }
  }
  const host = fromUrl?.host ?? fields.host;
  if (host === undefined) throw new Failure('settings-invalid', 'redis: host: it or url must be set');
  return {
    host,
    port: fromUrl?.port ?? fields.port ?? 6379,
    username: fields.username ?? fromUrl?.username,
    password: fields.password ?? fromUrl?.password,
    database: fromUrl?.database ?? 0,
    tls: fields.tls ?? fromUrl?.tls ?? false,
    timeoutMs: timeout,
    databases: databases ?? null,
    inventory,
    frozen,
  };
}

/** The same component at another place. Who we are is kept unless the new place says otherwise. */
export function retarget(settings: unknown, target: string): unknown {
  const { host: _host, port: _port, url, ...rest } = z.looseObject({}).parse(settings);
  const before = typeof url === 'string' ? readUrl(url) : null;
  const to = readUrl(target.includes('://') ? target : `redis://${target}`);
  const { username = rest.username ?? before?.username, password = rest.password ?? before?.password } = to;
  const tls = to.tls || !target.includes('://') ? (rest.tls ?? (before?.tls || to.tls)) : false;
  const database = to.database || before?.database || 0;
  const place = `${to.tls || tls === true ? 'rediss' : 'redis'}://${bracketed(to.host)}:${to.port}/${database}`;
  return { ...rest, url: place, ...defined({ username, password, tls: tls || undefined }) };
}

/** What node:tls wants; reads the files that the settings name. Null without TLS. */
export function tlsOptions({ tls, host }: Endpoint): ConnectionOptions | null {
  if (tls === false) return null;
  const files = tls === true ? {} : tls;
  const servername = files.server_name ?? (isIP(host) ? undefined : host);
  const ca = readFile(files.ca_file);
  const cert = readFile(files.cert_file);
  const key = readFile(files.key_file);
  return defined({ ca, cert, key, servername });
}

function readUrl(text: string): {
  host: string;
  port: number;
  username?: string;
  password?: string;
  database: number;
  tls: boolean;
} {
  const url = URL.parse(text);
  const path = url?.pathname.replace(/^\//, '') ?? '';
  if (!url || !['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '' || !/^\d*$/.test(path)) {
    throw new Failure('settings-invalid', 'redis: url: not of the form redis://user:password@host:port/database');
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 6379 : Number(url.port),
    database: Number(path),
    tls: url.protocol === 'rediss:',
    ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
  };
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function readFile(path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Failure('settings-invalid', `redis: tls: ${path} can't be read: ${messageOf(cause)}`, { cause });
  }
}

function defined<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
