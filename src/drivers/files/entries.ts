// entries.ndjson: everything that was found, one JSON document a line, in the order of names. It is what a restore goes
// by, and what tells the next capture which files are unchanged.

import type { BigIntStats } from 'node:fs';
import { z } from 'zod';
import { linesOf } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context, FileAttributes, InventoryLine, Json, Source } from '../../core/model.ts';
import { isDirectoryName, segmentsOf } from './names.ts';

export const ENTRIES_PART = 'entries.ndjson';

const nanoseconds = z.string().regex(/^-?\d{1,20}$/);
const entrySchema = z.strictObject({
  /** As if the component's root were the disk's; a directory's ends in '/'. */
  name: z.string(),
  type: z.enum(['file', 'directory', 'symlink', 'hardlink', 'other']),
  mode: z.number().int().min(0).max(0o7777),
  uid: z.number().int().nonnegative(),
  gid: z.number().int().nonnegative(),
  mtime_ns: nanoseconds,
  /** Of a file: what was read. */
  bytes: z.number().int().nonnegative().optional(),
  sha256: z.hex().length(64).optional(),
  /** What a symlink says; the first name of a hard link's file; what something else is. */
  target: z.string().optional(),
  /** Of a file: what tells that it is unchanged. Absent when it may have changed without a trace. */
  seen: z.strictObject({ ino: z.string(), ctime_ns: nanoseconds }).optional(),
});
export type Entry = Readonly<z.output<typeof entrySchema>>;

export function entryLine(entry: Entry): string {
  return `${JSON.stringify(entry)}\n`;
}

/** Checks every line: the store is untrusted. Names ascend, so no two are the same. */
export async function* entriesOf(ctx: Context, source: Source): AsyncIterable<Entry> {
  yield* parsed(source.get(ctx, ENTRIES_PART), `${source.point}/${source.component}`);
}

async function* parsed(body: Bytes, where: string): AsyncIterable<Entry> {
  let before = '';
  for await (const line of linesOf(body)) {
    const entry = parseEntry(line, where);
    segmentsOf(entry.name);
    if (entry.name <= before) throw new Failure('malformed', `${where}: ${entry.name} is out of order`);
    if (isDirectoryName(entry.name) !== (entry.type === 'directory')) {
      throw new Failure('malformed', `${where}: ${entry.name} is a ${entry.type}`);
    }
    before = entry.name;
    yield entry;
  }
}

function parseEntry(line: string, where: string): Entry {
  try {
    return entrySchema.parse(JSON.parse(line));
  } catch (cause) {
    throw new Failure('malformed', `the entries of ${where} have a line that is none`, { cause });
  }
}

/** What all kinds of entries have in common. */
export function metadataOf(stat: BigIntStats): Pick<Entry, 'mode' | 'uid' | 'gid' | 'mtime_ns'> {
  return {
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime_ns: String(stat.mtimeNs),
  };
}

export function attributesOf(entry: Entry): FileAttributes {
  const mtime = new Date(Number(BigInt(entry.mtime_ns) / 1_000_000n)).toISOString();
  return { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime };
}

/** What equality is about; null for what is noted only. Times are restored and not compared. */
export function inventoryLine(entry: Entry): InventoryLine | null {
  if (entry.type === 'other') return null;
  const detail: Record<string, Json> = { type: entry.type, mode: entry.mode.toString(8).padStart(4, '0') };
  detail.owner = `${entry.uid}:${entry.gid}`;
  if (entry.target !== undefined) detail.target = entry.target;
  const digest = entry.sha256 === undefined ? null : `sha256:${entry.sha256}`;
  return { kind: 'path', name: entry.name, count: entry.bytes ?? null, digest, detail };
}
