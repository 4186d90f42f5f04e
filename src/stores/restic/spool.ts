// The parts of a component that is being captured come in any order and are entered into trees in order of name: what
// does not fit into memory is sorted on disk.

import { mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { byteOrder, releaseLarge } from '../../core/bytes.ts';
import { Failure, systemCode } from '../../core/errors.ts';
import { merged } from '../../core/merged.ts';
import type { Context } from '../../core/model.ts';
import type { Folder, PartEntry } from './trees.ts';

export interface PartSpool extends AsyncDisposable {
  add(ctx: Context, entries: readonly PartEntry[]): Promise<void>;
  /**
   * All of them in byte order of name, some at a time. 'exists' when two have the same, 'malformed' when some did not
   * come back from disk.
   */
  sorted(): AsyncIterable<readonly PartEntry[]>;
}

const MEMORY_BYTES_MAX = 24 * 1024 * 1024;
const ENTRY_BYTES = 400; // of an entry in memory, beside its name and content
/** Of a run at a time. */
const READ_BYTES = 64 * 1024;
/** Entries that are written together. */
const WRITTEN_ENTRIES = 500;
/** Of the memory, for the folders of what is kept: of each all stays there, however little of it is kept. */
const FOLDERS_SHARE = 0.5;

export function partSpool(options: { memoryBytesMax: number } = { memoryBytesMax: MEMORY_BYTES_MAX }): PartSpool {
  let held: PartEntry[] = [];
  let heldBytes = 0;
  const folders = new Set<Folder>(); // that are held
  let foldersBytes = 0;
  let added = 0;
  let dir: Promise<string> | undefined;
  const runs: Promise<string>[] = [];

  async function spill(ctx: Context, entries: PartEntry[], number: number): Promise<string> {
    dir ??= mkdtemp(join(ctx.scratch, 'parts-'));
    const path = join(await dir, `${number}`);
    await using file = await open(path, 'wx', 0o600);
    try {
      entries.sort(byName);
      for (let at = 0; at < entries.length; at += WRITTEN_ENTRIES) {
        const some = Buffer.concat(entries.slice(at, at + WRITTEN_ENTRIES).map(encode));
        await file.appendFile(some);
        releaseLarge(some);
      }
    } catch (cause) {
      if (systemCode(cause) !== 'ENOSPC') throw cause;
      throw new Failure('no-space', `no space is left for the names of parts in ${ctx.scratch}`, { cause });
    }
    return path;
  }

  /** A folder for which there is no room is written again. */
  function isHeld(folder: Folder): boolean {
    if (folders.has(folder)) return true;
    if (foldersBytes + folder.bytes > options.memoryBytesMax * FOLDERS_SHARE) return false;
    folders.add(folder);
    foldersBytes += folder.bytes;
    return true;
  }

  return {
    async add(ctx, entries) {
      for (const entry of entries) {
        const isAsGiven = !entry.kept || isHeld(entry.kept.folder);
        held.push(isAsGiven ? entry : { ...entry, kept: undefined });
        heldBytes += ENTRY_BYTES + entry.name.length * 2 + entry.content.length;
      }
      added += entries.length;
      if (heldBytes + foldersBytes < options.memoryBytesMax) return;
      const full = held;
      held = [];
      heldBytes = 0;
      folders.clear();
      foldersBytes = 0;
      const run = spill(ctx, full, runs.length);
      runs.push(run);
      await run;
    },
    async *sorted() {
      const sources = (await Promise.all(runs)).map(readRun);
      let last: string | undefined;
      let given = 0;
      for await (const entries of merged([...sources, inMemory(held.toSorted(byName))], byName)) {
        for (const { name } of entries) {
          if (name === last) throw new Failure('exists', `the component already has a part ${name}`);
          last = name;
        }
        given += entries.length;
        yield entries;
      }
      if (given === added) return;
      throw new Failure('malformed', `of the names of ${added} parts only ${given} came back from ${await dir}`);
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(runs); // whoever added has heard of a failure
      if (dir) await rm(await dir, { recursive: true, force: true });
    },
  };
}

async function* inMemory(entries: readonly PartEntry[]): AsyncIterable<readonly PartEntry[]> {
  yield entries;
}

function byName(a: PartEntry, b: PartEntry): number {
  return byteOrder(a.name, b.name);
}

function encode({ name, bytes, content, attributes }: PartEntry): Buffer {
  const head = Buffer.from(JSON.stringify({ name, bytes, attributes }));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32LE(head.length, 0);
  lengths.writeUInt32LE(content.length, 4);
  return Buffer.concat([lengths, head, content]);
}

/** The buffer is always the same one: hundreds of MiB that were used once would wait for the collector. */
async function* readRun(path: string): AsyncIterable<readonly PartEntry[]> {
  await using file = await open(path);
  let buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  let filled = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled);
    if (bytesRead === 0) return;
    filled += bytesRead;
    const entries: PartEntry[] = [];
    let at = 0;
    let wanted = entryBytes(buffer.subarray(0, filled));
    for (; at + wanted <= filled; wanted = entryBytes(buffer.subarray(at, filled))) {
      entries.push(decode(buffer.subarray(at, at + wanted)));
      at += wanted;
    }
    buffer.copyWithin(0, at, filled);
    filled -= at;
    if (wanted > buffer.length) buffer = Buffer.concat([buffer], wanted); // one entry that is larger
    if (entries.length > 0) yield entries;
  }
}
function entryBytes(data: Buffer): number {
  return data.length < 8 ? 8 : 8 + data.readUInt32LE(0) + data.readUInt32LE(4);
}
function decode(entry: Buffer): PartEntry {
  const headEnd = 8 + entry.readUInt32LE(0);
  const { name, bytes, attributes } = JSON.parse(entry.toString('utf8', 8, headEnd)) as PartEntry;
  return { name, bytes, attributes, content: Buffer.from(entry.subarray(headEnd)) };
}
