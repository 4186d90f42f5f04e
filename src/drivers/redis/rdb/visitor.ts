// What an RDB is made of, as it is told to those who want to know: the values, whatever they were encoded as.

import { Failure } from '../../../core/errors.ts';
import type { Region } from './input.ts';

export type Family = 'redis' | 'valkey';
export interface Format {
  readonly family: Family;
  readonly version: number;
}
export type KeyType = 'string' | 'list' | 'set' | 'zset' | 'hash' | 'stream' | 'module';

/** A key as it is met. One object for all of them: borrowed until the next one. */
export interface KeyHead {
  database: number;
  /** A copy of the name, made when it is asked for. */
  readonly name: Buffer;
  /** Where the name lies: at the beginning. */
  names: Region;
  nameBytes: number;
  type: KeyType;
  /** The type byte of the RDB. */
  encoding: number;
  /** Milliseconds since 1970; -1 when it stays. */
  expiresAt: number;
  idleSeconds: number;
  frequency: number;
  /** What the value takes in the RDB; known at its end. */
  bytes: number;
}

export interface StreamId {
  readonly ms: number | bigint;
  readonly seq: number | bigint;
}
export interface StreamState {
  readonly length: number;
  readonly last: StreamId;
  /** Null in what Redis wrote before version 7. */
  readonly counters: { readonly maxDeleted: StreamId; readonly added: number | bigint } | null;
}
export interface GroupHead {
  readonly name: Buffer;
  readonly last: StreamId;
  /** Null in what Redis wrote before version 7; may be 2^64-1, which means unknown. */
  readonly read: number | bigint | null;
}

/** What a value is told by, in the order of the calls. Regions are borrowed for the call. */
export interface Visitor {
  format?(format: Format): void;
  aux?(name: string, value: string): void;
  /** A library of functions. */
  library?(code: Buffer): void;
  /** A module's own data outside of keys. */
  moduleData?(module: string): void;
  /** False: the value is skipped, and `end` comes next. */
  key(head: KeyHead): boolean;
  /** A string value, in pieces. */
  text(region: Region, from: number, to: number, offset: number, total: number): void;
  /** An element of a list or set; member, field or value by turns; what a module wrote. */
  item(region: Region, from: number, to: number): void;
  /** After the member of a sorted set. */
  score(score: number): void;
  /** After the field and value of a hash; -1 when the field stays. */
  fieldExpires(ms: number): void;
  module(name: string): void;
  /** A stream: entries with their fields and values as items, then its state, then groups with theirs. */
  entry(id: StreamId, fields: number): void;
  streamState(state: StreamState): void;
  group(group: GroupHead): void;
  /** What the group has handed out and nobody has acknowledged. */
  pending(id: StreamId, deliveredAt: number, deliveries: number): void;
  consumer(name: Buffer): void;
  /** One of the pending ones is this consumer's. */
  consumerPending(id: StreamId): void;
  /** The value is complete, or was skipped. */
  end(head: KeyHead): void;
}

/** For what only a newer server writes. */
export function unknown(what: string): Failure {
  return new Failure('version-mismatch', `the RDB has ${what}, which this version of Lifeboat does not know`, {
    hint: 'its server is newer than those that are supported: see docs/drivers/redis.md',
  });
}
