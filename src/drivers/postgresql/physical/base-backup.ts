// A base backup as the server streams it: an archive for each tablespace, the last with the data directory and the log
// that was written meanwhile, and the manifest of them all.

import assert from 'node:assert/strict';
import { Failure } from '../../../core/errors.ts';
import type { Bytes } from '../../../core/model.ts';
import { literal } from '../names.ts';
import type { Message, Messages, Replication } from './replication.ts';

const LABEL = 'lifeboat';
const PIECE_BYTES = 256 * 1024;
/** What a message of a copy begins with that brings some of a file. */
const DATA = 'd'.charCodeAt(0);

export interface LogPosition {
  readonly lsn: string;
  readonly timeline: number;
}
export interface Tablespace {
  readonly oid: string;
  readonly location: string;
}
/** Each is read to its end before the next. */
export interface Content {
  /** 'data' is the data directory, an object id one of the tablespaces. */
  readonly of: 'data' | 'manifest' | { readonly oid: string };
  readonly body: Bytes;
}
export interface BaseBackup {
  readonly start: LogPosition;
  readonly tablespaces: readonly Tablespace[];
  contents(): AsyncIterable<Content>;
  /** Once all contents are read: up to here the server must recover before what it has is of one moment. */
  end(): Promise<LogPosition>;
  /** What the server has warned of. */
  readonly notices: readonly string[];
}

export interface BackupOptions {
  /** Of what the server sends; null for no limit. */
  readonly kilobytesPerSecondMax: number | null;
  /** Only what has changed since the backup whose manifest was uploaded. */
  readonly incremental?: boolean;
}

export async function beginBackup(connection: Replication, options: BackupOptions): Promise<BaseBackup> {
  const { where } = connection;
  const messages = connection.stream(commandOf(options));
  const start = positionIn(await rowsOf(messages, where), where);
  const spaces = await rowsOf(messages, where);
  const tablespaces = spaces.flatMap(([oid, location]) => (oid && location ? [{ oid, location }] : []));
  for (const { oid } of tablespaces) if (!/^\d+$/.test(oid)) throw unexpected(where, `a tablespace called ${oid}`);
  const begun = await messages.next();
  if (begun.type !== 'H') throw unexpected(where, `${begun.type} where a copy begins`);
  return {
    start,
    tablespaces,
    notices: messages.notices,
    contents: () => contentsOf(messages, where, new Set(tablespaces.map(({ oid }) => oid))),
    async end() {
      const end = positionIn(await rowsOf(messages, where), where);
      while ((await messages.next()).type !== 'Z');
      return end;
    },
  };
}

function commandOf({ kilobytesPerSecondMax, incremental = false }: BackupOptions): string {
  const options = [
    `LABEL ${literal(LABEL)}`,
    'PROGRESS',
    "CHECKPOINT 'fast'",
    'WAL true',
    'WAIT false', // what is in the stream need not be in an archive first
    "MANIFEST 'yes'",
    "MANIFEST_CHECKSUMS 'SHA256'",
    'TABLESPACE_MAP true',
    ...(incremental ? ['INCREMENTAL'] : []),
    ...(kilobytesPerSecondMax === null ? [] : [`MAX_RATE ${kilobytesPerSecondMax}`]),
  ];
  return `BASE_BACKUP (${options.join(', ')})`;
}

/** Of one result. */
async function rowsOf(messages: Messages, where: string): Promise<(string | null)[][]> {
  const rows: (string | null)[][] = [];
  for (;;) {
    const message = await messages.next();
    if (message.type === 'C') return rows;
    if (message.type === 'D') rows.push(fieldsOf(await message.whole()));
    else if (message.type !== 'T') throw unexpected(where, `${message.type} where rows are`);
  }
}

function fieldsOf(row: Buffer): (string | null)[] {
  const fields: (string | null)[] = [];
  for (let at = 2; at < row.length; ) {
    const length = row.readInt32BE(at);
    at += 4;
    fields.push(length < 0 ? null : row.toString('utf8', at, at + length));
    at += Math.max(0, length);
  }
  return fields;
}

function positionIn([row]: readonly (readonly (string | null)[])[], where: string): LogPosition {
  const [lsn = '', timeline = ''] = row ?? [];
  if (!/^[0-9A-F]+\/[0-9A-F]+$/.test(lsn ?? '') || !/^\d+$/.test(timeline ?? '')) {
    throw unexpected(where, 'no position where one is');
  }
  return { lsn: lsn ?? '', timeline: Number(timeline) };
}

async function* contentsOf(messages: Messages, where: string, oids: ReadonlySet<string>): AsyncIterable<Content> {
  // Small messages in large pieces: what is done for each piece costs as much as to read it.
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let next = await markIn(messages, where, oids);
  while (next) {
    if (next.kind === 'data') throw unexpected(where, 'data of no archive');
    let following: Mark | null | undefined;
    const body = async function* (): Bytes {
      for (;;) {
        for (let bytes = -1; bytes !== 0; ) {
          bytes = await messages.fill(piece, DATA);
          if (bytes > 0) yield piece.subarray(0, bytes);
        }
        const mark = await markIn(messages, where, oids);
        if (mark?.kind !== 'data') {
          following = mark;
          return;
        }
        for (let some = await mark.message.piece(); some; some = await mark.message.piece()) yield some;
      }
    };
    yield { of: next.of, body: body() };
    assert(following !== undefined, 'each content is read to its end');
    next = following;
  }
}

type Mark =
  | { readonly kind: 'begin'; readonly of: Content['of'] }
  | { readonly kind: 'data'; readonly message: Message };

/** What a message of the copy begins or brings; null at the end of the copy. */
async function markIn(messages: Messages, where: string, oids: ReadonlySet<string>): Promise<Mark | null> {
  for (;;) {
    const message = await messages.next();
    if (message.type === 'c') return null;
    const kind = message.type === 'd' ? String.fromCharCode((await message.piece(1))?.[0] ?? 0) : message.type;
    if (message.type !== 'd') throw unexpected(where, `${kind} in a copy`);
    if (kind === 'd') return { kind: 'data', message };
    if (kind === 'm') return { kind: 'begin', of: 'manifest' };
    if (kind === 'n') return { kind: 'begin', of: archiveIn(await message.whole(), where, oids) };
    if (kind !== 'p') throw unexpected(where, `a message ${JSON.stringify(kind)} in a backup`);
  }
}

/** 'base.tar' is the data directory; what else there is has the number of a tablespace. */
function archiveIn(body: Buffer, where: string, oids: ReadonlySet<string>): Content['of'] {
  const [name = ''] = body.toString('utf8').split('\0');
  if (name === 'base.tar') return 'data';
  const [, oid = ''] = /^(\d+)\.tar$/.exec(name) ?? [];
  if (!oids.has(oid)) throw unexpected(where, `an archive called ${JSON.stringify(name)}`);
  return { oid };
}

function unexpected(where: string, what: string): Failure {
  return new Failure('malformed', `${where}: the server sent ${what}`);
}
