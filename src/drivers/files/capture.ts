import { readlinkSync } from 'node:fs';
import { hostname, type as systemName } from 'node:os';
import { INVENTORY_PART } from '../../core/inventory.ts';
import type { Capture, Context, InventoryLine, InventoryReader, Part, Sink, Source } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import { attributesOf, ENTRIES_PART, type Entry, entriesOf, entryLine, inventoryLine, metadataOf } from './entries.ts';
import { linkTable } from './links.ts';
import { encode, partOf } from './names.ts';
import { type FileRead, type FileReader, fileReader } from './read.ts';
import type { FilesSettings } from './settings.ts';
import { openSpool } from './spool.ts';
import { type Found, walk } from './walk.ts';

const PARALLEL = 16;
const WARNINGS_MAX = 100;
/** A file that was changed this short a time ago may change again without its times telling. */
const SETTLED_NS = 2_000_000_000n;

/** Something that was found, as it was when it was read. Null when it was gone by then. */
type Store = (found: Found, entry: Entry) => Promise<Entry | null>;

export async function capture(ctx: Context, settings: FilesSettings, sink: Sink, previous?: Source): Promise<Capture> {
  const at = ctx.now().toISOString();
  const warnings = warningList();
  const earlier = previous ? unchangedSince(ctx, previous) : null;
  const totals = { files: 0, directories: 0, links: 0, others: 0, bytes: 0 };
  // Put only after the walk: a part that waits for others could hold the place that they wait for.
  await using inventory = await openSpool(ctx.scratch, INVENTORY_PART);
  await using entries = await openSpool(ctx.scratch, ENTRIES_PART);
  const reader = fileReader(ctx);
  const store: Store = (found, entry) => storeFile(ctx, { sink, earlier, reader, warnings }, found, entry);
  for await (const entry of scan(ctx, settings, warnings, store)) {
    const line = inventoryLine(entry);
    if (line) await inventory.add(`${JSON.stringify(line)}\n`);
    await entries.add(entryLine(entry));
    count(totals, entry);
  }
  for (const spool of [inventory, entries]) await sink.put(ctx, spool.name, spool.body());
  if (totals.others > 0) warnings.add(`${totals.others} sockets, pipes or devices are noted, not captured`);
  return {
    cut: { position: at, at },
    method: 'walk',
    serverVersion: versionHere(),
    identity: identityHere(settings),
    inventoryLevel: 'full',
    totals,
    warnings: warnings.list(),
  };
}

/** Of the files as they are when it is read. */
export function liveInventory(settings: FilesSettings): InventoryReader {
  return {
    async *lines(ctx): AsyncIterable<InventoryLine> {
      const reader = fileReader(ctx);
      const digested: Store = async (found, entry) => {
        const file = await reader.read(found.path);
        if (!file) return null;
        for await (const _ of file.body) ctx.signal.throwIfAborted();
        return { ...entry, ...file.sum() };
      };
      for await (const entry of scan(ctx, settings, warningList(), digested)) {
        const line = inventoryLine(entry);
        if (line) yield line;
      }
    },
  };
}

export function versionHere(): string {
  return `files on ${systemName()}`;
}

export function identityHere({ root }: FilesSettings): string {
  return `${hostname()}:${root}`;
}

/** Everything that is found, in the order of names; regular files are handed to `store`, several at a time. */
async function* scan(ctx: Context, settings: FilesSettings, warnings: Warnings, store: Store): AsyncIterable<Entry> {
  const links = linkTable();
  const vanished = (name: string): void => warnings.add(`${name} vanished while it was captured`);
  const entryOf = async (found: Found): Promise<Entry | null> => {
    const { name, path, stat } = found;
    const common = { name, ...metadataOf(stat) };
    if (stat.isDirectory()) return { ...common, type: 'directory' };
    if (stat.isSymbolicLink()) return { ...common, type: 'symlink', target: encode(readlinkSync(path, 'buffer')) };
    if (!stat.isFile()) return { ...common, type: 'other', target: kindOf(found) };
    const file = { ...common, type: 'file' } as const;
    if (stat.nlink === 1n) return await store(found, file);
    const entry = await links.entryOf(stat, () => store(found, file));
    if (!entry || entry.name === name) return entry;
    return { ...common, type: 'hardlink', target: entry.name, bytes: entry.bytes, sha256: entry.sha256 };
  };
  for await (const [found, entry] of mapOrdered(
    walk(ctx, settings, vanished),
    PARALLEL,
    async (each) => [each, await entryOf(each)] as const,
  )) {
    if (entry) yield entry;
    else vanished(found.name);
  }
  if (links.unknown() > 0)
    warnings.add(`${links.unknown()} names of files with several are kept as files of their own`);
}

function kindOf({ stat }: Found): string {
  if (stat.isSocket()) return 'socket';
  if (stat.isFIFO()) return 'pipe';
  return 'device';
}

interface Storing {
  readonly sink: Sink;
  readonly earlier: Unchanged | null;
  readonly reader: FileReader;
  readonly warnings: Warnings;
}

async function storeFile(
  ctx: Context,
  { sink, earlier, reader, warnings }: Storing,
  found: Found,
  entry: Entry,
): Promise<Entry | null> {
  const attributes = attributesOf(entry);
  const kept = await earlier?.find(found);
  if (kept) {
    await sink.keep(ctx, partOf(entry.name), kept.part, { attributes });
    return { ...kept.entry, ...metadataOf(found.stat) };
  }
  const file = await reader.read(found.path);
  if (!file) return null;
  await sink.put(ctx, partOf(entry.name), file.streamed ? watched(ctx, file) : file.body, { attributes });
  if (file.changed()) warnings.add(`${entry.name} changed while it was read`);
  return { ...entry, ...file.sum(), ...(isSettled(ctx, file, found) ? { seen: seenOf(found) } : {}) };
}

async function* watched(ctx: Context, { body }: FileRead): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    ctx.signal.throwIfAborted();
    yield chunk;
  }
}

function isSettled(ctx: Context, file: FileRead, { stat }: Found): boolean {
  const now = BigInt(ctx.now().getTime()) * 1_000_000n;
  return !file.changed() && BigInt(file.sum().bytes) === stat.size && stat.ctimeNs + SETTLED_NS < now;
}

function seenOf({ stat }: Found): NonNullable<Entry['seen']> {
  return { ino: String(stat.ino), ctime_ns: String(stat.ctimeNs) };
}

interface Unchanged {
  /** The file as an earlier point holds it, when nothing about it has changed since. Asked in the order of names. */
  find(found: Found): Promise<{ entry: Entry; part: Part } | null>;
}

/** Walks the earlier point's entries, and its parts, in step with the disk. */
function unchangedSince(ctx: Context, previous: Source): Unchanged {
  const entries = cursor(entriesOf(ctx, previous), (entry, name) => (entry.name < name ? -1 : 1));
  const parts = cursor(previous.parts(ctx, 'data/'), (part, name) => byteOrder(part.name, name));
  async function look({ name, stat }: Found): Promise<{ entry: Entry; part: Part } | null> {
    const entry = await entries.at(name);
    if (entry?.type !== 'file' || !entry.seen) return null;
    const same = entry.seen.ino === String(stat.ino) && entry.seen.ctime_ns === String(stat.ctimeNs);
    if (!same || entry.mtime_ns !== String(stat.mtimeNs) || BigInt(entry.bytes ?? -1) !== stat.size) return null;
    const part = (await parts.at(partOf(name))) ?? (await previous.part(ctx, partOf(name)));
    return { entry, part };
  }
  let turn: Promise<unknown> = Promise.resolve();
  return {
    async find(found) {
      const mine = turn.then(() => look(found));
      turn = mine.catch(() => undefined); // whoever asked is told
      return await mine;
    },
  };
}

/** Looks names up in a stream that is in the same order as the questions. */
function cursor<T extends { readonly name: string }>(
  items: AsyncIterable<T>,
  order: (item: T, name: string) => number,
): { at(name: string): Promise<T | null> } {
  const iterator = items[Symbol.asyncIterator]();
  let current: IteratorResult<T> | undefined;
  return {
    async at(name) {
      current ??= await iterator.next();
      while (!current.done && current.value.name !== name && order(current.value, name) < 0) {
        current = await iterator.next();
      }
      return !current.done && current.value.name === name ? current.value : null;
    },
  };
}

/** The order of parts. It differs from that of entries for a few characters only. */
function byteOrder(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

interface Warnings {
  add(text: string): void;
  list(): string[];
}
function warningList(): Warnings {
  const texts: string[] = [];
  let more = 0;
  return {
    add: (text) => void (texts.length < WARNINGS_MAX ? texts.push(text) : (more += 1)),
    list: () => (more === 0 ? texts : [...texts, `and ${more} more of that kind`]),
  };
}

function count(
  totals: { files: number; directories: number; links: number; others: number; bytes: number },
  entry: Entry,
): void {
  if (entry.type === 'file') totals.files += 1;
  else if (entry.type === 'directory') totals.directories += 1;
  else if (entry.type === 'other') totals.others += 1;
  else totals.links += 1;
  totals.bytes += entry.bytes ?? 0;
}
