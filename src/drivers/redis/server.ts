// What a server is: its kind and version, its part in a replication, what it holds.

import { Failure } from '../../core/errors.ts';
import { type Connection, readInfo } from './connection.ts';
import type { Family, Format } from './rdb/visitor.ts';
import { isError } from './resp.ts';

export interface ServerFacts {
  readonly family: Family;
  /** 'redis 7.0.15', 'valkey 9.1.2'. */
  readonly version: string;
  readonly runId: string;
  readonly replicationId: string;
  /** Null when it is a master; else whose replica it is. */
  readonly masterAt: string | null;
  readonly mode: string;
  readonly usedBytes: number;
  /** Zero: no limit. */
  readonly maxBytes: number;
  readonly keys: ReadonlyMap<number, number>;
  readonly info: ReadonlyMap<string, string>;
}

export async function serverFacts(connection: Connection): Promise<ServerFacts> {
  const info = await readInfo(connection);
  const field = (name: string): string => info.get(name) ?? '';
  const family = field('server_name') === 'valkey' || info.has('valkey_version') ? 'valkey' : 'redis';
  const number = field(family === 'valkey' ? 'valkey_version' : 'redis_version');
  if (number === '') throw new Failure('denied', `${connection.where}: INFO names no version`);
  const keys = [...info].flatMap(([name, value]): [number, number][] => {
    const [, database] = /^db(\d+)$/.exec(name) ?? [];
    const [, count] = /^keys=(\d+)/.exec(value) ?? [];
    return database === undefined || count === undefined ? [] : [[Number(database), Number(count)]];
  });
  return {
    family,
    version: `${family} ${number}`,
    runId: field('run_id'),
    replicationId: field('master_replid'),
    masterAt: field('role') === 'master' ? null : `${field('master_host')}:${field('master_port')}`,
    mode: field(family === 'valkey' && info.has('server_mode') ? 'server_mode' : 'redis_mode'),
    usedBytes: Number(field('used_memory')),
    maxBytes: Number(field('maxmemory')),
    keys: new Map(keys),
    info,
  };
}

/** Null when a restore into these databases would overwrite nothing. Functions count as data. */
export async function heldData(
  connection: Connection,
  { keys }: ServerFacts,
  databases: readonly number[] | null,
): Promise<string | null> {
  const functions = await connection.ask('FUNCTION', 'LIST');
  const covered = [...keys].filter(([database]) => databases === null || databases.includes(database));
  const parts = covered.map(([database, count]) => `${count} ${count === 1 ? 'key' : 'keys'} in db${database}`);
  if (!isError(functions) && Array.isArray(functions) && functions.length > 0) {
    parts.push(`${functions.length} libraries of functions`);
  }
  return parts.length === 0 ? null : parts.join(', ');
}

/** The newest RDB that a server writes, by its version. Of one that is newer than these, no more is assumed. */
const RDB_VERSIONS: Readonly<Record<Family, readonly (readonly [from: number, rdb: number])[]>> = {
  redis: [
    [7.04, 12],
    [7.02, 11],
    [7.0, 10],
    [5.0, 9],
    [0, 8],
  ],
  valkey: [
    [9.0, 80],
    [0, 11],
  ],
};

export function rdbVersionOf(version: string): Format {
  const [, family = 'redis', major, minor] = /^(?:(redis|valkey)[ -])?(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined || (family !== 'redis' && family !== 'valkey')) {
    throw new Failure('version-mismatch', `${version} is no version of Redis or Valkey`);
  }
  const at = Number(major) + Number(minor) / 100;
  const [, rdb = 0] = RDB_VERSIONS[family].find(([from]) => at >= from) ?? [];
  return { family, version: rdb };
}

/**
 * Whether a server reads this RDB, as a whole or value by value. Up to 11 they share one format; from 12 on (Redis 7.4)
 * and from 80 on (Valkey 9) each has its own.
 */
export function canLoad(server: string, rdb: Format): boolean {
  const own = rdbVersionOf(server);
  if (rdb.version <= 11) return own.version >= rdb.version;
  return own.family === rdb.family && own.version >= rdb.version;
}

/** Whether fields of its hashes can expire: Redis 7.4 and Valkey 9 on. */
export function hasFieldExpiry(server: string): boolean {
  return rdbVersionOf(server).version >= 12;
}
