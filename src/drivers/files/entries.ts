// entries.ndjson: everything that was found, one JSON document a line, in the order of names. It is what a restore goes
// by, and what tells the next capture which files are unchanged.

import type { BigIntStats } from 'node:fs';
import { lineBatchesOf } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, FileAttributes, InventoryLine, Json, Source } from '../../core/model.ts';
import { assertName, isDirectoryName } from './names.ts';

export const ENTRIES_PART = 'entries.ndjson';
/** In an error. */
const LINE_SHOWN = 200;
const REQUIRED_FIELDS = 6;
const NAME_WITHOUT_ESCAPES = /^\{"name":"([^"\\]*)"/;
const DIGEST = 'sha256:';
const SHORT_DIGEST = 'sha256-128:';
const DIGEST_FIELD = ',"sha256":"';
const DIGEST_CHARS = 64;

/** The years 0 to 9999, beyond which other readers of a store know no times. File systems do. */
const MTIME_NS_MIN = BigInt(Date.parse('0000-01-01T00:00:00Z')) * 1_000_000n;
const MTIME_NS_MAX = BigInt(Date.parse('9999-12-31T23:59:59.999Z')) * 1_000_000n + 999_999n;

const TYPES = ['file', 'directory', 'symlink', 'hardlink', 'other'] as const;

export interface Entry {
  /** As if the component's root were the disk's; a directory's ends in '/'. */
  readonly name: string;
  readonly type: (typeof TYPES)[number];
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime_ns: string;
  /** Of a file: what was read. */
  readonly bytes?: number | undefined;
  readonly sha256?: string | undefined;
  /** What a symlink says; the first name of a hard link's file; what something else is. */
  readonly target?: string | undefined;
  /** Of a file: what tells that it is unchanged. Absent when it may have changed without a trace. */
  readonly seen?: Seen | undefined;
  /** Of a live file: what was written into it, and it was not read again. Never stored. */
  readonly unread?: true | undefined;
}
export interface Seen {
  readonly ino: string;
  readonly ctime_ns: string;
}

/** The same text for the same entry, by hand: there are millions of them. */
export function entryLine({ name, type, mode, uid, gid, mtime_ns, bytes, sha256, target, seen }: Entry): string {
  let line = `{"name":${JSON.stringify(name)},"type":"${type}","mode":${mode},"uid":${uid},"gid":${gid}`;
  line += `,"mtime_ns":"${mtime_ns}"`;
  if (bytes !== undefined) line += `,"bytes":${bytes}`;
  if (sha256 !== undefined) line += `${DIGEST_FIELD}${sha256}"`;
  if (target !== undefined) line += `,"target":${JSON.stringify(target)}`;
  if (seen) line += `,"seen":{"ino":"${seen.ino}","ctime_ns":"${seen.ctime_ns}"}`;
  return `${line}}\n`;
}

/** The name in a line that `entryLine` made; 'malformed' when there is none. */
export function nameInLine(line: string, where: string): string {
  return NAME_WITHOUT_ESCAPES.exec(line)?.[1] ?? parseEntry(line, where).name;
}

/**
 * The entry of a file that is as it was when this line was made of it, null when it may be another one. All but the
 * digest is told by the file itself: what the line says besides is not parsed but made again.
 */
export function entryUnlessChanged(name: string, stat: BigIntStats, line: string): Entry | null {
  const at = line.indexOf(DIGEST_FIELD) + DIGEST_FIELD.length;
  const sha256 = line.slice(at, at + DIGEST_CHARS);
  const entry = { ...fileEntry(name, stat), bytes: Number(stat.size), sha256, seen: seenOf(stat) };
  return isDigest(sha256) && entryLine(entry) === `${line}\n` ? entry : null;
}

/** Checks every line: the store is untrusted. Names ascend, so no two are the same. */
export async function* entriesOf(ctx: Context, source: Source): AsyncIterable<Entry> {
  for await (const entries of entryBatchesOf(ctx, source)) yield* entries;
}

/** As `entriesOf`, as many at a time as came together. */
export async function* entryBatchesOf(ctx: Context, source: Source): AsyncIterable<Entry[]> {
  const where = `${source.point}/${source.component}`;
  let before = '';
  for await (const lines of lineBatchesOf(source.get(ctx, ENTRIES_PART))) {
    const entries = lines.map((line) => parseEntry(line, where));
    for (const { name, type } of entries) {
      assertName(name);
      if (name <= before) throw new Failure('malformed', `${where}: ${name} is out of order`);
      if (isDirectoryName(name) !== (type === 'directory')) {
        throw new Failure('malformed', `${where}: ${name} is a ${type}`);
      }
      before = name;
    }
    yield entries;
  }
}

function parseEntry(line: string, where: string): Entry {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new Failure('malformed', `the entries of ${where} have a line that is none`, { cause });
  }
  if (isEntry(value)) return value;
  throw new Failure('malformed', `the entries of ${where} have a line that is none: ${line.slice(0, LINE_SHOWN)}`);
}

/** By hand: there are millions of them, and a schema takes as long as all the rest. */
function isEntry(value: unknown): value is Entry {
  if (!isObject(value)) return false;
  const { name, type, mode, uid, gid, mtime_ns, bytes, sha256, target, seen } = value;
  const optional = [bytes, sha256, target, seen].filter((field) => field !== undefined).length;
  return (
    Object.keys(value).length === REQUIRED_FIELDS + optional &&
    typeof name === 'string' &&
    (TYPES as readonly unknown[]).includes(type) &&
    isCount(mode) &&
    mode <= 0o7777 &&
    isCount(uid) &&
    isCount(gid) &&
    isNanoseconds(mtime_ns) &&
    (bytes === undefined || isCount(bytes)) &&
    (sha256 === undefined || (typeof sha256 === 'string' && isDigest(sha256))) &&
    (target === undefined || typeof target === 'string') &&
    (seen === undefined || isSeen(seen))
  );
}

function isSeen(value: unknown): value is Seen {
  return (
    isObject(value) && Object.keys(value).length === 2 && typeof value.ino === 'string' && isNanoseconds(value.ctime_ns)
  );
}

function isObject(value: unknown): value is Partial<Record<keyof Entry | keyof Seen, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

function isNanoseconds(value: unknown): boolean {
  return typeof value === 'string' && /^-?\d{1,21}$/.test(value);
}

/** What all kinds of entries have in common. */
export function metadataOf(
  stat: Pick<BigIntStats, 'mode' | 'uid' | 'gid' | 'mtimeNs'>,
): Pick<Entry, 'mode' | 'uid' | 'gid' | 'mtime_ns'> {
  return {
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime_ns: mtimeOf(stat),
  };
}

export function fileEntry(name: string, stat: BigIntStats): Entry {
  return { name, ...metadataOf(stat), type: 'file' };
}

export function seenOf({ ino, ctimeNs }: BigIntStats): Seen {
  return { ino: String(ino), ctime_ns: String(ctimeNs) };
}

/** In nanoseconds. */
function mtimeOf({ mtimeNs }: Pick<BigIntStats, 'mtimeNs'>): string {
  if (mtimeNs < MTIME_NS_MIN) return String(MTIME_NS_MIN);
  return String(mtimeNs > MTIME_NS_MAX ? MTIME_NS_MAX : mtimeNs);
}

export function attributesOf({ mode, uid, gid, mtime_ns }: Entry): FileAttributes {
  return { mode, uid, gid, mtime: new Date(Number(BigInt(mtime_ns) / 1_000_000n)).toISOString() };
}

/** What equality is about; null for what is noted only. Times are restored and not compared. */
export function inventoryLine(entry: Entry): InventoryLine | null {
  if (entry.type === 'other') return null;
  const detail: Record<string, Json> = { type: entry.type, mode: entry.mode.toString(8).padStart(4, '0') };
  detail.owner = `${entry.uid}:${entry.gid}`;
  if (entry.target !== undefined) detail.target = entry.target;
  if (entry.unread) detail.unread = true;
  const digest = entry.sha256 === undefined ? null : shortDigest(`${DIGEST}${entry.sha256}`);
  return { kind: 'path', name: entry.name, count: entry.bytes ?? null, digest, detail };
}

/**
 * Half of it tells any two files apart; hashes do not compress, and of small files they are a good part of what is
 * stored. Points from before have the whole.
 */
export function shortDigest(digest: string): string {
  if (!digest.startsWith(DIGEST)) return digest;
  return `${SHORT_DIGEST}${digest.slice(DIGEST.length, DIGEST.length + DIGEST_CHARS / 2)}`;
}
