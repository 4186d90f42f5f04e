// The entries of a point with what a journal says of the time after it, in the order of entries.

import type { JournalRange } from '../../../core/journal.ts';
import type { Context, Cut, Source } from '../../../core/model.ts';
import { cutAt } from '../../../core/moments.ts';
import { type Sorter, sorter } from '../../../core/sorter.ts';
import { type CapturedBucket, readBuckets } from '../buckets.ts';
import { bucketOrder, type Entry, entryBatches, entryFrom, entryJson, entryOrder } from '../entries.ts';
import { runsOf } from '../runs.ts';
import { readRange } from './format.ts';

const EVENT_CHARS = 400;

/** Something that the journal says of a key. */
interface Told {
  readonly bucket: string;
  readonly key: string;
  readonly version: string | null;
  /** In the order in which it was told: entries are counted through the whole journal. */
  readonly at: number;
  /** Null: it was gone. */
  readonly entry: Entry | null;
  /** When the look began that has seen it. */
  readonly looked: number;
}
export interface Overlay extends AsyncDisposable {
  readonly buckets: readonly CapturedBucket[];
  /** How far the journal came. */
  readonly reached: Cut | undefined;
  /** In order, all of a key together. */
  entries(ctx: Context): AsyncIterable<readonly (readonly Placed[])[]>;
}
export interface Placed {
  readonly entry: Entry;
  /** How many entries of the journal come before it; null for those of the point. */
  readonly at: number | null;
}

/** What was changed up to `untilMs` of the server's clock counts. */
export async function overlay(
  ctx: Context,
  base: Source,
  ranges: AsyncIterable<JournalRange>,
  untilMs: number,
): Promise<Overlay> {
  await using undo = new AsyncDisposableStack();
  const told: Sorter<Told> = undo.use(
    sorter<Told>(ctx.scratch, 'the changes of objects', {
      order: (a, b) => entryOrder(a, b) || a.at - b.at,
      lineOf: ({ entry, ...rest }) => JSON.stringify({ ...rest, entry: entry && entryJson(entry) }),
      itemOf: toldFrom,
      charsOf: ({ key }) => key.length + EVENT_CHARS,
    }),
  );
  const buckets = new Map((await readBuckets(ctx, base)).buckets.map((each) => [each.name, each]));
  let at = 0;
  let reached: Cut | undefined;
  for await (const range of ranges) {
    const { head } = readRange(range);
    const { looked } = head;
    await told.add(head.entries.map((entry) => ({ ...placeOf(entry), at: at++, entry, looked })));
    reached = head.round[1] > untilMs ? cutAt(untilMs) : range.to;
    if (head.round[1] > untilMs) continue;
    await told.add(head.gone.map((each) => ({ ...each, at, entry: null, looked })));
    for (const bucket of head.buckets) buckets.set(bucket.name, bucket);
    for (const name of head.buckets_gone) buckets.delete(name);
  }
  const owned = undo.move();
  return {
    buckets: [...buckets.values()].sort((a, b) => bucketOrder(a.name, b.name)),
    reached,
    entries: (within) => merged(within, base, told, untilMs),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function placeOf({ bucket, key, version }: Entry): Pick<Told, 'bucket' | 'key' | 'version'> {
  return { bucket, key, version };
}

/** A line of our own. */
function toldFrom(line: string): Told {
  const { entry, ...rest } = JSON.parse(line);
  return { ...rest, entry: entry && entryFrom(entry) };
}

async function* merged(
  ctx: Context,
  base: Source,
  told: Sorter<Told>,
  untilMs: number,
): AsyncIterable<(readonly Placed[])[]> {
  const changes = keysOf(told.sorted());
  let change = await changes.next();
  for await (const runs of runsOf(entryBatches(ctx, base))) {
    const some: (readonly Placed[])[] = [];
    for (const run of runs) {
      const [first] = run;
      if (!first) continue;
      for (; !change.done && isBefore(change.value, first); change = await changes.next()) {
        some.push(applied([], change.value, untilMs));
      }
      if (!change.done && entryOrder(change.value[0] ?? first, first) === 0) {
        some.push(applied(run, change.value, untilMs));
        change = await changes.next();
      } else some.push(run.map((entry) => ({ entry, at: null })));
    }
    yield some.filter(({ length }) => length > 0);
  }
  for (; !change.done; change = await changes.next()) {
    const last = applied([], change.value, untilMs);
    if (last.length > 0) yield [last];
  }
}

function isBefore([first]: readonly Told[], entry: Entry): boolean {
  return first !== undefined && entryOrder(first, entry) < 0;
}

async function* keysOf(batches: AsyncIterable<readonly Told[]>): AsyncGenerator<readonly Told[], void> {
  let key: Told[] = [];
  for await (const batch of batches) {
    for (const each of batch) {
      const [first] = key;
      if (first && entryOrder(first, each) !== 0) {
        yield key;
        key = [];
      }
      key.push(each);
    }
  }
  if (key.length > 0) yield key;
}

/** What there is of one key: its versions from the oldest on, or the one object. */
function applied(run: readonly Entry[], told: readonly Told[], untilMs: number): Placed[] {
  const there = new Map(run.map((entry): [string | null, Placed] => [entry.version, { entry, at: null }]));
  for (const { version, entry, at, looked } of told) {
    const found = there.get(version);
    const now = found?.entry;
    if (!entry) {
      // What the point has and was written since the look is another one.
      if (now && (found.at !== null || Date.parse(now.modified) <= looked)) there.delete(version);
      continue;
    }
    if (Date.parse(entry.modified) > untilMs || (now && (isSame(now, entry) || isNewer(now, entry)))) continue;
    there.delete(version); // the newest is the last
    there.set(version, { entry, at });
  }
  return [...there.values()];
}

function isSame(a: Entry, b: Entry): boolean {
  return a.etag === b.etag && a.bytes === b.bytes && a.modified === b.modified && a.marker === b.marker;
}

/** The point may have seen it later than the journal did. */
function isNewer(a: Entry, b: Entry): boolean {
  return Date.parse(a.modified) > Date.parse(b.modified);
}
