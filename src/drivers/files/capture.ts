import { type BigIntStats, readlinkSync } from 'node:fs';
import { hostname, type as systemName } from 'node:os';
import { INVENTORY_PART } from '../../core/inventory.ts';
import type { Capture, Context, InventoryLine, InventoryReader, PartRef, Sink, Source } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import {
  attributesOf,
  ENTRIES_PART,
  type Entry,
  entryBatchesOf,
  entryLine,
  inventoryLine,
  metadataOf,
  mtimeOf,
  type Seen,
} from './entries.ts';
import { GONE, unlessGone } from './failures.ts';
import { linkTable } from './links.ts';
import { encode, partOf } from './names.ts';
import { type FileRead, type FileReader, fileReader } from './read.ts';
import type { FilesSettings } from './settings.ts';
import { openSpool } from './spool.ts';
import { type Found, walk } from './walk.ts';
import type { Written } from './written.ts';

const PARALLEL = 16;
const WARNINGS_MAX = 100;
/** A file that was changed this short a time ago may change again without its times telling. */
const SETTLED_NS = 2_000_000_000n;

/** A file, as it was when it was read; `before` is what an earlier point says of it. Null when it was gone by then. */
type Store = (found: Found, before: Entry | undefined) => Promise<Entry | null>;

export async function capture(ctx: Context, settings: FilesSettings, sink: Sink, previous?: Source): Promise<Capture> {
  const at = ctx.now().toISOString();
  const warnings = warningList();
  await using earlier = previous ? entriesBefore(ctx, previous) : null;
  const totals = { files: 0, directories: 0, links: 0, others: 0, bytes: 0 };
  // Put only after the walk: a part that waits for others could hold the place that they wait for.
  await using inventory = await openSpool(ctx.scratch, INVENTORY_PART);
  await using entries = await openSpool(ctx.scratch, ENTRIES_PART);
  const reader = fileReader(ctx, settings.root);
  const store: Store = async (found, before) =>
    before && previous && isUnchanged(found, before)
      ? await keepFile(ctx, sink, previous, found, before)
      : await storeFile(ctx, { sink, reader, warnings }, found);
  for await (const batch of scan(ctx, settings, { warnings, store, earlier })) {
    await inventory.add(batch.map(inventoryText).join(''));
    await entries.add(batch.map(entryLine).join(''));
    for (const entry of batch) count(totals, entry);
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

/** Of the files as they are when it is read; those that were written by us, and not touched since, are not read. */
export function liveInventory(settings: FilesSettings, written: Written): InventoryReader {
  return {
    async *lines(ctx): AsyncIterable<InventoryLine> {
      const reader = fileReader(ctx, settings.root);
      const digested: Store = async (found) => {
        const known = written.sumOf(found.stat);
        if (known) return { ...fileEntry(found.name, found.stat), ...known, unread: true };
        using file = await reader.read(found.path, found.stat);
        if (!file) return null;
        if (file.streamed) for await (const _ of file.body) ctx.signal.throwIfAborted();
        return { ...fileEntry(found.name, file.stat), ...file.sum() };
      };
      for await (const batch of scan(ctx, settings, { warnings: warningList(), store: digested, earlier: null })) {
        yield* batch.map(inventoryLine).filter((line) => line !== null);
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

function inventoryText(entry: Entry): string {
  const line = inventoryLine(entry);
  return line ? `${JSON.stringify(line)}\n` : '';
}

interface Scan {
  readonly warnings: Warnings;
  readonly store: Store;
  readonly earlier: EntriesBefore | null;
}

/** Everything that is found, in the order of names; regular files are handed to `store`, several at a time. */
async function* scan(
  ctx: Context,
  settings: FilesSettings,
  { warnings, store, earlier }: Scan,
): AsyncIterable<Entry[]> {
  const links = linkTable();
  const vanished = (name: string): void => warnings.add(`${name} vanished while it was captured`);
  const entryOf = async (found: Found, before: Entry | undefined): Promise<Entry | null> => {
    const { name, path, stat } = found;
    const common = { name, ...metadataOf(stat) };
    if (stat.isDirectory()) return { ...common, type: 'directory' };
    if (stat.isSymbolicLink()) {
      const target = unlessGone(path, () => readlinkSync(path, 'buffer'), [...GONE, 'EINVAL']);
      return target && { ...common, type: 'symlink', target: encode(target) };
    }
    if (!stat.isFile()) return { ...common, type: 'other', target: kindOf(found) };
    if (stat.nlink === 1n) return await store(found, before);
    const entry = await links.entryOf(stat, () => store(found, before));
    if (!entry || entry.name === name) return entry;
    return { ...common, type: 'hardlink', target: entry.name, bytes: entry.bytes, sha256: entry.sha256 };
  };
  for await (const batch of walk(ctx, settings, vanished)) {
    const before = await earlier?.of(batch);
    const entries = await mapBounded(batch, PARALLEL, (found) => entryOf(found, before?.get(found.name)));
    for (const [at, entry] of entries.entries()) if (!entry) vanished(batch[at]?.name ?? '');
    yield entries.filter((entry) => entry !== null);
  }
  if (links.unknown() > 0)
    warnings.add(`${links.unknown()} names of files with several are kept as files of their own`);
}

function fileEntry(name: string, stat: BigIntStats): Entry {
  return { name, ...metadataOf(stat), type: 'file' };
}

function kindOf({ stat }: Found): string {
  if (stat.isSocket()) return 'socket';
  if (stat.isFIFO()) return 'pipe';
  return 'device';
}

interface Storing {
  readonly sink: Sink;
  readonly reader: FileReader;
  readonly warnings: Warnings;
}

async function storeFile(
  ctx: Context,
  { sink, reader, warnings }: Storing,
  { name, path, stat }: Found,
): Promise<Entry | null> {
  const now = ctx.now();
  using file = await reader.read(path, stat);
  if (!file) return null;
  const body = file.streamed ? watched(ctx, file) : file.body;
  const entry = fileEntry(name, file.stat);
  await sink.put(ctx, partOf(name), body, { attributes: attributesOf(entry) });
  if (file.changed()) warnings.add(`${name} changed while it was read`);
  return { ...entry, ...file.sum(), ...(isSettled(file, now) ? { seen: seenOf(file) } : {}) };
}

async function keepFile(ctx: Context, sink: Sink, previous: Source, found: Found, before: Entry): Promise<Entry> {
  const entry = { ...before, ...fileEntry(found.name, found.stat) };
  const name = partOf(entry.name);
  const { point, component } = previous;
  const from: PartRef = { name, bytes: entry.bytes ?? 0, point, component };
  await sink.keep(ctx, name, from, { attributes: attributesOf(entry) });
  return entry;
}

async function* watched(ctx: Context, { body }: FileRead): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    ctx.signal.throwIfAborted();
    yield chunk;
  }
}

/** As of the moment before it was read: what changes it later changes its times as well. */
function isSettled(file: FileRead, readAt: Date): boolean {
  const now = BigInt(readAt.getTime()) * 1_000_000n;
  return !file.changed() && BigInt(file.sum().bytes) === file.stat.size && file.stat.ctimeNs + SETTLED_NS < now;
}

function seenOf({ stat }: FileRead): Seen {
  return { ino: String(stat.ino), ctime_ns: String(stat.ctimeNs) };
}

function isUnchanged({ stat }: Found, { type, seen, mtime_ns, bytes = -1 }: Entry): boolean {
  return (
    type === 'file' &&
    seen?.ino === String(stat.ino) &&
    seen.ctime_ns === String(stat.ctimeNs) &&
    mtime_ns === mtimeOf(stat) &&
    BigInt(bytes) === stat.size
  );
}

interface EntriesBefore extends AsyncDisposable {
  /** By name. Asked in the order of names. */
  of(found: readonly Found[]): Promise<ReadonlyMap<string, Entry>>;
}

/** Walks an earlier point's entries in step with the disk. */
function entriesBefore(ctx: Context, previous: Source): EntriesBefore {
  const batches = entryBatchesOf(ctx, previous)[Symbol.asyncIterator]();
  let batch: readonly Entry[] = [];
  let at = 0;
  /** The first entry that does not come before the name. */
  async function from(name: string): Promise<Entry | undefined> {
    for (;;) {
      for (; at < batch.length; at++) {
        const entry = batch[at];
        if (entry && entry.name >= name) return entry;
      }
      const next = await batches.next();
      if (next.done) return undefined;
      batch = next.value;
      at = 0;
    }
  }
  return {
    async of(found) {
      const entries = new Map<string, Entry>();
      for (const { name } of found) {
        const entry = await from(name);
        if (entry?.name === name) entries.set(name, entry);
      }
      return entries;
    },
    async [Symbol.asyncDispose]() {
      await batches.return?.();
    },
  };
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
