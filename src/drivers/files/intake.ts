// What becomes of the files that a walk finds: they are stored, or only digested. Small ones are read by the caller's
// own thread into memory that is used again, and handed on together: a promise for each would cost more than reading.

import { keepAll, putAll } from '../../core/many-parts.ts';
import type { Context, KeptPart, Sink, Source, WholePart } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { attributesOf, type Entry, entryUnlessChanged, fileEntry, seenOf } from './entries.ts';
import { partOf } from './names.ts';
import { type FileRead, type FileReader, WHOLE_BYTES_MAX, type WholeFile } from './read.ts';
import type { Found } from './walk.ts';
import type { Warnings } from './warnings.ts';
import type { Written } from './written.ts';

/** Files at a time that are large, or on a disk that takes long. */
const PARALLEL = 16;
/** Of small files together; there is always room for one more. */
const GROUP_BYTES = 1024 * 1024;
/** A file that was changed this short a time ago may change again without its times telling. */
const SETTLED_NS = 2_000_000_000n;

/** The lines of an earlier point, by name. */
export type Earlier = ReadonlyMap<string, string>;

/** Entries tell of files as they were when they were read. */
export interface Intake {
  /** Those that were gone by then have no entry. One call at a time. */
  all(files: readonly Found[], earlier: Earlier): Promise<Map<Found, Entry>>;
  /** Null when it was gone by then. */
  one(found: Found, earlier: Earlier): Promise<Entry | null>;
}

export interface Storing {
  readonly sink: Sink;
  readonly reader: FileReader;
  readonly warnings: Warnings;
  /** Where unchanged files are. */
  readonly previous: Source | undefined;
}

export function storingIntake(ctx: Context, { sink, reader, warnings, previous }: Storing): Intake {
  const memory = Buffer.allocUnsafeSlow(GROUP_BYTES + WHOLE_BYTES_MAX);

  /** What is to be kept of an unchanged file. */
  function unchanged({ name: path, stat }: Found, earlier: Earlier): { entry: Entry; part: KeptPart } | null {
    const line = earlier.get(path);
    const entry = line === undefined ? null : entryUnlessChanged(path, stat, line);
    if (!entry || !previous) return null;
    const name = partOf(path);
    const { point, component } = previous;
    const from = { name, bytes: entry.bytes ?? 0, point, component };
    return { entry, part: { name, from, meta: { attributes: attributesOf(entry) } } };
  }
  async function one(found: Found, earlier: Earlier): Promise<Entry | null> {
    const { name, path, stat } = found;
    const same = unchanged(found, earlier);
    if (same) {
      await keepAll(ctx, sink, [same.part]);
      return same.entry;
    }
    const readAt = ctx.now();
    await reader.look([found]);
    const small = stat.size <= WHOLE_BYTES_MAX ? Buffer.allocUnsafe(Number(stat.size)) : null;
    const whole = small ? reader.readNow(path, stat, small) : undefined;
    if (whole === null) return null;
    if (whole) {
      const { entry, part } = partOfFile(name, whole, { readAt, warnings });
      await putAll(ctx, sink, [part]);
      return entry;
    }
    return await byThread(found);
  }
  async function byThread({ name, path, stat }: Found): Promise<Entry | null> {
    const readAt = ctx.now();
    using file = await reader.read(path, stat);
    if (!file) return null;
    const attributes = attributesOf(fileEntry(name, file.stat));
    await sink.put(ctx, partOf(name), file.streamed ? watched(ctx, file) : file.body, { attributes });
    const changed = file.changed();
    if (changed) warnings.add(`${name} changed while it was read`);
    return entryOf(name, { stat: file.stat, changed, ...file.sum() }, readAt);
  }

  return {
    one,
    async all(files, earlier) {
      const entries = new Map<Found, Entry>();
      const kept: KeptPart[] = [];
      const left: Found[] = [];
      let group: WholePart[] = [];
      let bytes = 0;
      await reader.look(files);
      const readAt = ctx.now();
      for (const found of files) {
        const same = unchanged(found, earlier);
        if (same) {
          entries.set(found, same.entry);
          kept.push(same.part);
          continue;
        }
        const file = reader.readNow(found.path, found.stat, memory.subarray(bytes));
        if (file === undefined) left.push(found);
        if (!file) continue;
        const { entry, part } = partOfFile(found.name, file, { readAt, warnings });
        entries.set(found, entry);
        group.push(part);
        bytes += file.data.length;
        if (bytes < GROUP_BYTES) continue;
        await putAll(ctx, sink, group);
        group = [];
        bytes = 0;
      }
      if (group.length > 0) await putAll(ctx, sink, group);
      if (kept.length > 0) await keepAll(ctx, sink, kept);
      await eachInto(entries, left, byThread);
      return entries;
    },
  };
}

function partOfFile(
  name: string,
  { stat, data, sha256, changed }: WholeFile,
  { readAt, warnings }: { readonly readAt: Date; readonly warnings: Warnings },
): { entry: Entry; part: WholePart } {
  const entry = entryOf(name, { stat, changed, bytes: data.length, sha256 }, readAt);
  const attributes = attributesOf(entry);
  if (changed) warnings.add(`${name} changed while it was read`);
  return { entry, part: { name: partOf(name), whole: data, sha256, meta: { attributes } } };
}

/** Those that were written by us, and not touched since, are not read. */
export function digestingIntake(ctx: Context, reader: FileReader, written: Written): Intake {
  const memory = Buffer.allocUnsafeSlow(WHOLE_BYTES_MAX);
  /** Undefined when it takes more than a moment. */
  function now({ name, path, stat }: Found): Entry | null | undefined {
    const known = written.sumOf(stat);
    if (known) return { ...fileEntry(name, stat), ...known, unread: true };
    const file = reader.readNow(path, stat, memory);
    return file && { ...fileEntry(name, file.stat), bytes: file.data.length, sha256: file.sha256 };
  }
  async function byThread(found: Found): Promise<Entry | null> {
    using file = await reader.read(found.path, found.stat);
    if (!file) return null;
    if (file.streamed) for await (const _ of file.body) ctx.signal.throwIfAborted();
    return { ...fileEntry(found.name, file.stat), ...file.sum() };
  }
  return {
    async one(found) {
      await reader.look([found]);
      const entry = now(found);
      return entry === undefined ? await byThread(found) : entry;
    },
    async all(files) {
      await reader.look(files);
      const entries = new Map<Found, Entry>();
      const left: Found[] = [];
      for (const found of files) {
        const entry = now(found);
        if (entry) entries.set(found, entry);
        else if (entry === undefined) left.push(found);
      }
      await eachInto(entries, left, byThread);
      return entries;
    },
  };
}

/** Several at a time, in their order. */
export async function eachInto(
  entries: Map<Found, Entry>,
  files: readonly Found[],
  one: (found: Found) => Promise<Entry | null>,
): Promise<void> {
  if (files.length === 0) return;
  await mapBounded(files, PARALLEL, async (found) => {
    const entry = await one(found);
    if (entry) entries.set(found, entry);
  });
}

async function* watched(ctx: Context, { body }: FileRead): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    ctx.signal.throwIfAborted();
    yield chunk;
  }
}

interface Sum extends Pick<WholeFile, 'stat' | 'changed' | 'sha256'> {
  readonly bytes: number;
}

function entryOf(name: string, { stat, changed, bytes, sha256 }: Sum, readAt: Date): Entry {
  const entry = { ...fileEntry(name, stat), bytes, sha256 };
  // As of the moment before it was read: what changes it later changes its times as well.
  const settled = stat.ctimeNs + SETTLED_NS < BigInt(readAt.getTime()) * 1_000_000n;
  if (changed || !settled || BigInt(bytes) !== stat.size) return entry;
  return { ...entry, seen: seenOf(stat) };
}
