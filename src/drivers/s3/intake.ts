// What becomes of listed objects: they are kept, stored, only digested, or only counted. Small ones are handed on
// together: a promise of the store for each would cost more than reading them.

import { measured } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import { putAll, WHOLE_BYTES_MAX } from '../../core/many-parts.ts';
import type { Context, Sink, Source, WholePart } from '../../core/model.ts';
import { type Gate, gate, mapBounded } from '../../core/parallel.ts';
import { readBuckets } from './buckets.ts';
import type { Client } from './client.ts';
import { type Entry, entriesBefore, isUnchanged, partOf } from './entries.ts';
import { wordOf } from './failures.ts';
import type { Keeper } from './keeping.ts';
import { isGone, look } from './looking.ts';
import { describeObject, type Opened, openObject, recheckObject, restOf, sha256Of, wholeOf } from './objects.ts';
import type { Listed } from './pages.ts';
import type { PlainNames } from './plain.ts';
import type { Recheck } from './recheck.ts';
import type { Written } from './written.ts';

/** Of small objects together. */
const GROUP_BYTES = 2 * 1024 * 1024;
/** Of objects that are read whole, at a time. */
const SMALL_BYTES = 64 * 1024 * 1024;
/** Larger ones at a time: of each some ranges are in memory. */
const LARGE_PARALLEL = 3;
/** How often an object may change while it is read before that is a failure. */
const CHANGES_MAX = 5;

export interface Intake {
  /** In the order of what was listed; objects that are gone meanwhile have no entry. */
  take(bucket: string, page: readonly Listed[], earlier: ReadonlyMap<Listed, Entry>): Promise<Entry[]>;
}
export interface Told {
  changed(name: string): void;
  vanished(name: string): void;
}

export interface Storing {
  readonly sink: Sink;
  /** Gets what is not read again. */
  readonly keeper: Keeper;
  readonly names: PlainNames;
  readonly told: Told;
  /** Says of which of them more is asked. */
  readonly recheck: Recheck;
  /** Buckets with objects that may be locked. */
  readonly lockable: ReadonlySet<string>;
}

export function storingIntake(ctx: Context, client: Client, { sink, keeper, names, told, ...more }: Storing): Intake {
  const work = bounds(client);
  const { tags, acl, connections } = client.settings;
  async function large(opened: Opened): Promise<Entry> {
    const { body, sum } = measured(restOf(ctx, client, opened));
    await sink.put(ctx, partOf(opened.entry), body, { ...names.metaOf(opened.entry), sum });
    return { ...opened.entry, sha256: sum().sha256 };
  }
  return {
    async take(bucket, page, earlier) {
      for (const { key } of page) names.see(bucket, key);
      const left: Listed[] = [];
      const due: { readonly listed: Listed; readonly entry: Entry }[] = [];
      const entries = new Map<Listed, Entry>();
      const lockable = more.lockable.has(bucket);
      const asks = lockable || acl || tags !== 'never';
      for (const listed of page) {
        const before = earlier.get(listed);
        if (listed.marker) entries.set(listed, markerEntry(bucket, listed));
        else if (!before) left.push(listed);
        else if (asks && more.recheck.isDue(before)) due.push({ listed, entry: asListed(before, listed) });
        else entries.set(listed, asListed(asks ? more.recheck.asOf(before) : before, listed));
      }
      await mapBounded(due, connections, async ({ listed, entry }) => {
        const now = await recheckObject(ctx, client, { bucket, listed }, { entry, lockable });
        if (now) entries.set(listed, now);
        else told.vanished(`${bucket}/${listed.key}`);
      });
      await keeper.add([...entries.values()].filter(({ marker }) => !marker));
      let group: WholePart[] = [];
      let bytes = 0;
      async function flush(): Promise<void> {
        const full = group;
        group = [];
        bytes = 0;
        if (full.length > 0) await putAll(ctx, sink, full);
      }
      await eachObject(ctx, client, { bucket, left, told, work }, async (opened, listed) => {
        if ((opened.entry.bytes ?? 0) > WHOLE_BYTES_MAX) return void entries.set(listed, await large(opened));
        const whole = wholeOf(opened);
        const sha256 = sha256Of(whole);
        entries.set(listed, { ...opened.entry, sha256 });
        group.push({ name: partOf(opened.entry), whole, sha256, meta: names.metaOf(opened.entry) });
        bytes += whole.length;
        if (bytes >= GROUP_BYTES) await flush();
      });
      await flush();
      return inOrder(page, entries);
    },
  };
}

/** Reads every object but those that a restore has just written; keeps nothing. */
export function digestingIntake(ctx: Context, client: Client, told: Told, written: Written): Intake {
  const work = bounds(client);
  return {
    async take(bucket, page) {
      const entries = new Map<Listed, Entry>();
      const left: Listed[] = [];
      const described: { readonly listed: Listed; readonly sha256: string }[] = [];
      for (const listed of page) {
        const known = listed.marker ? null : written.of(bucket, listed);
        if (listed.marker) entries.set(listed, markerEntry(bucket, listed));
        else if (!known) left.push(listed);
        else if (known.headers === null) described.push({ listed, sha256: known.sha256 });
        else entries.set(listed, { ...plainEntry(bucket, listed), ...known, headers: known.headers, unread: true });
      }
      await mapBounded(described, client.settings.connections, async ({ listed, sha256 }) => {
        const entry = await describeObject(ctx, client, { bucket, listed });
        if (entry) entries.set(listed, { ...entry, sha256, unread: true });
      });
      await eachObject(ctx, client, { bucket, left, told, work }, async (opened, listed) => {
        const { body, sum } = measured(restOf(ctx, client, opened));
        for await (const _ of body) ctx.signal.throwIfAborted();
        entries.set(listed, { ...opened.entry, sha256: sum().sha256 });
      });
      return inOrder(page, entries);
    },
  };
}

/** Goes by the listing alone. */
export const countingIntake: Intake = {
  async take(bucket, page) {
    return page.map((listed) => (listed.marker ? markerEntry : plainEntry)(bucket, listed));
  },
};

/** Entries of an earlier point that tell of objects that are unchanged. */
export interface Unchanged extends AsyncDisposable {
  /** The cut of that point. */
  readonly at: string;
  in(bucket: string, page: readonly Listed[]): Promise<ReadonlyMap<Listed, Entry>>;
}

export async function unchangedSince(ctx: Context, previous: Source): Promise<Unchanged> {
  const { at } = await readBuckets(ctx, previous);
  const cutMs = Date.parse(at);
  const before = entriesBefore(ctx, previous);
  return {
    at,
    async in(bucket, page) {
      const unchanged = new Map<Listed, Entry>();
      let key: string | null = null;
      let entries: readonly Entry[] = [];
      for (const listed of page) {
        if (listed.key !== key) entries = await before.of(bucket, listed.key);
        key = listed.key;
        const entry = entries.find((each) => isUnchanged(each, listed, cutMs));
        if (entry?.sha256) unchanged.set(listed, entry);
      }
      return unchanged;
    },
    [Symbol.asyncDispose]: () => before[Symbol.asyncDispose](),
  };
}

/** What bounds the memory: an object has its place from the first byte until the store has it. */
interface Bounds {
  readonly small: Gate;
  /** In bytes: connections may be many. */
  readonly smallBytes: Gate;
  readonly large: Gate;
}
function bounds({ settings: { connections } }: Client): Bounds {
  return {
    small: gate(connections),
    smallBytes: gate(SMALL_BYTES),
    large: gate(Math.min(connections, LARGE_PARALLEL)),
  };
}
interface Reading {
  readonly bucket: string;
  readonly left: readonly Listed[];
  readonly told: Told;
  readonly work: Bounds;
}

/** Reads each once more when it is another one by now. */
async function eachObject(
  ctx: Context,
  client: Client,
  { bucket, left, told, work }: Reading,
  then: (opened: Opened, listed: Listed) => Promise<void>,
): Promise<void> {
  async function one(listed: Listed): Promise<void> {
    let now: Listed | null = listed;
    for (let changes = 0; now; changes++) {
      try {
        const opened = await openObject(ctx, client, { bucket, listed: now });
        if (opened) return await then(opened, listed);
        now = null;
      } catch (error) {
        if (!isFailure(error, 'different') || changes >= CHANGES_MAX) throw explained(error);
        told.changed(`${bucket}/${listed.key}`);
        now = await listedNow(ctx, client, bucket, listed);
      }
    }
    told.vanished(`${bucket}/${listed.key}`);
  }
  await mapBounded(left, client.settings.connections, (listed) =>
    listed.bytes > WHOLE_BYTES_MAX
      ? work.large.run(() => one(listed))
      : work.small.run(() => work.smallBytes.run(() => one(listed), listed.bytes)),
  );
}

/** A bucket may have a prefix that is not for this key. */
function explained(error: unknown): unknown {
  if (!isFailure(error, 'denied') || wordOf(error) !== 'AccessDenied') return error;
  const hint = 'allow s3:GetObject on it, or leave out what begins as it does: exclude';
  return new Failure('denied', error.message, { cause: error, hint });
}

/** As a listing would tell of it now. Null when it is gone. */
async function listedNow(ctx: Context, client: Client, bucket: string, listed: Listed): Promise<Listed | null> {
  const what = `looking at ${bucket}/${listed.key}`;
  try {
    const { headers } = await look(ctx, client, what, { bucket, key: listed.key });
    const bytes = Number(headers['content-length']);
    const modified = new Date(headers['last-modified'] ?? '');
    if (!Number.isSafeInteger(bytes) || Number.isNaN(modified.getTime())) {
      throw new Failure('unreachable', `${what}: the answer was none of S3`);
    }
    return { ...listed, bytes, modified: modified.toISOString(), etag: (headers.etag ?? '').replaceAll('"', '') };
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** As the listing has it; nothing is known of its content. */
function plainEntry(bucket: string, { key, version, latest, modified, etag, bytes }: Listed): Entry {
  return { bucket, key, version, latest, modified, etag, bytes, sha256: null };
}

function markerEntry(bucket: string, { key, version, latest, modified }: Listed): Entry {
  return { bucket, key, version, latest, modified, marker: true };
}

/** Which version is the latest may have changed. */
function asListed(entry: Entry, { latest }: Listed): Entry {
  return entry.latest === latest ? entry : { ...entry, latest };
}

function inOrder(page: readonly Listed[], entries: ReadonlyMap<Listed, Entry>): Entry[] {
  return page.map((listed) => entries.get(listed)).filter((entry) => entry !== undefined);
}
