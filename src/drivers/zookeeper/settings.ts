// Settings of a component of kind zookeeper.

import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { z } from 'zod';
import { Failure, messageOf } from '../../core/errors.ts';
import { duration, parseSettings } from '../../core/settings.ts';

const PORT = 2181;
/** Its quotas and its configuration. */
const OWN = '/zookeeper';

const tlsSettings = z.strictObject({
  ca_file: z.string().optional().describe('certificates to trust instead of the system’s, a PEM file'),
  cert_file: z.string().optional().describe('our certificate, which servers ask for by default, a PEM file'),
  key_file: z.string().optional().describe('the key of our certificate, a PEM file'),
  server_name: z.string().optional().describe('the name that the servers’ certificates are made out to'),
});

export const zookeeperSettings = z.strictObject({
  hosts: z
    .union([z.string().min(1), z.array(z.string().min(1)).nonempty()])
    .describe('the ensemble: host:port,host:port[/chroot], or a list of host:port; they are tried in turn'),
  root: z.string().optional().describe('the subtree that is protected; all of it (/) by default'),
  username: z.string().optional().describe('who we are to ACLs of scheme digest; super sees everything'),
  password: z.string().optional().describe('of the user'),
  tls: z.union([z.boolean(), tlsSettings]).optional().describe('encrypt the connections: true, or its files'),
  timeout: duration.prefault('30s').describe('of the session, and how long a server may say nothing'),
  home: z.string().optional().describe('where ZooKeeper lies on this machine, for drills; $ZOOKEEPER_HOME by default'),
});

export interface Host {
  readonly host: string;
  readonly port: number;
}
export interface Settings {
  readonly hosts: readonly Host[];
  /** '/', or a path without a slash at its end. */
  readonly root: string;
  readonly user: { readonly name: string; readonly password: string } | null;
  readonly tls: boolean | z.output<typeof tlsSettings>;
  readonly timeoutMs: number;
  readonly home: string | null;
}

export function readSettings(input: unknown): Settings {
  const { hosts, root, username, password, tls, timeout, home } = parseSettings(zookeeperSettings, input, 'zookeeper');
  const place = placeOf(typeof hosts === 'string' ? hosts : hosts.join(','));
  if ((username === undefined) !== (password === undefined)) {
    throw new Failure('settings-invalid', 'zookeeper: username and password: either needs the other');
  }
  const whole = joined(place.chroot, checkedPath(root ?? '/'));
  if (isOwn(whole)) throw new Failure('settings-invalid', `zookeeper: root: ${OWN} is ZooKeeper's own`);
  return {
    hosts: place.hosts,
    root: whole,
    user: username === undefined || password === undefined ? null : { name: username, password },
    tls: tls ?? false,
    timeoutMs: timeout,
    home: home ?? null,
  };
}

/** What node:tls wants; reads the files that the settings name. Null without TLS. */
export function tlsOptions({ tls }: Settings): ConnectionOptions | null {
  if (tls === false) return null;
  const { ca_file, cert_file, key_file, server_name }: z.output<typeof tlsSettings> = tls === true ? {} : tls;
  const files = Object.entries({ ca: ca_file, cert: cert_file, key: key_file });
  const pems = files.flatMap(([name, path]) => (path === undefined ? [] : [[name, pemIn(path)]]));
  return { ...Object.fromEntries(pems), ...(server_name === undefined ? {} : { servername: server_name }) };
}

function pemIn(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Failure('settings-invalid', `zookeeper: tls: ${path} can't be read: ${messageOf(cause)}`, { cause });
  }
}

/** The same component at another place: 'zookeeper://host:port,host:port/root', with or without the scheme. */
export function retarget(settings: unknown, target: string): unknown {
  const { hosts: _hosts, root: _root, ...rest } = z.looseObject({}).parse(settings);
  const text = target.replace(/^zookeeper:\/\//, '');
  placeOf(text);
  return { ...rest, hosts: text };
}

/** `path` below `root`, as the server knows it. */
export function joined(root: string, path: string): string {
  if (root === '/') return path;
  return path === '/' ? root : root + path;
}

/** The absolute path without a slash at its end, or 'settings-invalid'. */
function checkedPath(path: string): string {
  const plain = path === '/' ? path : path.replace(/\/$/, '');
  if (!isPath(plain)) throw new Failure('settings-invalid', `zookeeper: ${path} is no path of a znode`);
  return plain;
}

/** ZooKeeper's own subtree is neither read nor written. */
export function isOwn(path: string): boolean {
  return path === OWN || path.startsWith(`${OWN}/`);
}

/** What a server takes as one. */
export function isPath(path: string): boolean {
  if (path === '/') return true;
  if (!path.startsWith('/')) return false;
  for (let i = 0; i < path.length; i++) if (isRefused(path.charCodeAt(i))) return false;
  return !/\/\.{0,2}(?:\/|$)/.test(path); // a step that is empty, '.' or '..'
}

/** Control characters, surrogates and private characters, specials. */
function isRefused(unit: number): boolean {
  return unit < 0x20 || (unit >= 0x7f && unit <= 0x9f) || (unit >= 0xd800 && unit <= 0xf8ff) || unit >= 0xfff0;
}

function placeOf(text: string): { hosts: Host[]; chroot: string } {
  const slash = text.indexOf('/');
  const names = slash < 0 ? text : text.slice(0, slash);
  const hosts = names.split(',').map((each) => hostOf(each.trim()));
  return { hosts, chroot: slash < 0 ? '/' : checkedPath(text.slice(slash)) };
}

function hostOf(text: string): Host {
  const [, bracketed, plain, port = `${PORT}`] =
    /^(?:\[([0-9a-f:.%]+)\]|([^\s:[\]@]+))(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  const number = Number(port);
  if (host === undefined || number < 1 || number > 65_535) {
    throw new Failure('settings-invalid', 'zookeeper: hosts: not of the form host:port,host:port/chroot');
  }
  return { host, port: number };
}
