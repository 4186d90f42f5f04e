import { readlinkSync } from 'node:fs';
import { hostname, type as systemName } from 'node:os';
import { lineBatchesOf } from '../../core/bytes.ts';
import { INVENTORY_PART, inventoryText } from '../../core/inventory.ts';
import type { Capture, Context, InventoryLine, InventoryReader, Sink, Source } from '../../core/model.ts';
import { spool } from '../../core/spool.ts';
import { GONE, unlessGone } from '../failures.ts';
import { ENTRIES_PART, type Entry, entryLine, inventoryLine, metadataOf, nameInLine } from './entries.ts';
import { digestingIntake, type Earlier, eachInto, type Intake, storingIntake } from './intake.ts';
import { linkTable } from './links.ts';
import { encode } from './names.ts';
import { fileReader } from './read.ts';
import type { FilesSettings } from './settings.ts';
import { type Found, walk } from './walk.ts';
import { othersText, type Warnings, warningList } from './warnings.ts';
import type { Written } from './written.ts';

const NOTHING_BEFORE: Earlier = new Map();

export async function capture(ctx: Context, settings: FilesSettings, sink: Sink, previous?: Source): Promise<Capture> {
  const at = ctx.now().toISOString();
  const warnings = warningList();
  await using earlier = previous ? entriesBefore(ctx, previous) : null;
  const totals = { files: 0, directories: 0, links: 0, others: 0, bytes: 0 };
  // Put only after the walk: a part that waits for others could hold the place that they wait for.
  await using inventory = spool(ctx.scratch, 'the inventory');
  await using entries = spool(ctx.scratch, 'the list of files');
  const reader = fileReader(ctx, settings.root);
  const intake = storingIntake(ctx, { sink, reader, warnings, previous });
  for await (const batch of scan(ctx, settings, { warnings, intake, earlier })) {
    await inventory.add(batch.map(inventoriedText).join(''));
    await entries.add(batch.map(entryLine).join(''));
    for (const entry of batch) count(totals, entry);
  }
  await sink.put(ctx, INVENTORY_PART, inventory.body());
  await sink.put(ctx, ENTRIES_PART, entries.body());
  if (totals.others > 0) warnings.add(`${othersText(totals.others)} noted, not captured`);
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
      const intake = digestingIntake(ctx, fileReader(ctx, settings.root), written);
      for await (const batch of scan(ctx, settings, { warnings: warningList(), intake, earlier: null })) {
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

function inventoriedText(entry: Entry): string {
  const line = inventoryLine(entry);
  return line ? inventoryText(line) : '';
}

interface Scan {
  readonly warnings: Warnings;
  readonly intake: Intake;
  readonly earlier: EntriesBefore | null;
}

/** Everything that is found, in the order of names, some at a time. */
async function* scan(
  ctx: Context,
  settings: FilesSettings,
  { warnings, intake, earlier }: Scan,
): AsyncIterable<Entry[]> {
  const links = linkTable();
  const vanished = (name: string): void => warnings.add(`${name} vanished while it was captured`);
  async function linkedEntry(found: Found, before: Earlier): Promise<Entry | null> {
    const { name, stat } = found;
    const entry = await links.entryOf(stat, () => intake.one(found, before));
    if (!entry || entry.name === name) return entry;
    const { bytes, sha256 } = entry;
    return { name, ...metadataOf(stat), type: 'hardlink', target: entry.name, bytes, sha256 };
  }
  for await (const batch of walk(ctx, settings, vanished)) {
    const before = (await earlier?.of(batch)) ?? NOTHING_BEFORE;
    const files = Map.groupBy(batch, ({ stat }) => stat.isFile() && (stat.nlink === 1n ? 'single' : 'linked'));
    const stored = await intake.all(files.get('single') ?? [], before);
    const linked = files.get('linked') ?? [];
    await eachInto(stored, linked, (found) => linkedEntry(found, before));
    const entries: Entry[] = [];
    for (const found of batch) {
      const entry = stored.get(found) ?? notedEntry(found);
      if (entry) entries.push(entry);
      else vanished(found.name);
    }
    yield entries;
  }
  if (links.unknown() > 0)
    warnings.add(`${links.unknown()} names of files with several are kept as files of their own`);
}

/** Of what is not stored. Null when it was gone, and so for every file. */
function notedEntry(found: Found): Entry | null {
  const { name, path, stat } = found;
  if (stat.isFile()) return null;
  const common = { name, ...metadataOf(stat) };
  if (stat.isDirectory()) return { ...common, type: 'directory' };
  if (!stat.isSymbolicLink()) return { ...common, type: 'other', target: kindOf(found) };
  const target = unlessGone(path, () => readlinkSync(path, 'buffer'), [...GONE, 'EINVAL']);
  return target && { ...common, type: 'symlink', target: encode(target) };
}

function kindOf({ stat }: Found): string {
  if (stat.isSocket()) return 'socket';
  if (stat.isFIFO()) return 'pipe';
  return 'device';
}

interface EntriesBefore extends AsyncDisposable {
  /** By name. Asked in the order of names. */
  of(found: readonly Found[]): Promise<Earlier>;
}

/** Walks the lines of an earlier point in step with the disk. */
function entriesBefore(ctx: Context, previous: Source): EntriesBefore {
  const where = `${previous.point}/${previous.component}`;
  const batches = lineBatchesOf(previous.get(ctx, ENTRIES_PART))[Symbol.asyncIterator]();
  let lines: readonly string[] = [];
  let at = 0;
  async function lineOf(wanted: string): Promise<string | undefined> {
    for (;;) {
      for (; at < lines.length; at++) {
        const line = lines[at] ?? '';
        const name = nameInLine(line, where);
        if (name >= wanted) return name === wanted ? line : undefined;
      }
      const next = await batches.next();
      if (next.done) return undefined;
      lines = next.value;
      at = 0;
    }
  }
  return {
    async of(found) {
      const earlier = new Map<string, string>();
      for (const { name } of found) {
        const line = await lineOf(name);
        if (line !== undefined) earlier.set(name, line);
      }
      return earlier;
    },
    async [Symbol.asyncDispose]() {
      await batches.return?.();
    },
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
