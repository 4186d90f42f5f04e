// What becomes of listed objects: they are kept, stored, only digested, or only counted. Small ones are handed on
// together: a promise of the store for each would cost more than reading them.

import { Failure, isFailure } from '../../core/errors.ts';
import { keepAll, putAll, WHOLE_BYTES_MAX } from '../../core/many-parts.ts';
import type { Context, KeptPart, Sink, Source, WholePart } from '../../core/model.ts';
import { type Gate, gate, mapBounded } from '../../core/parallel.ts';
import type { Client } from './client.ts';
import { type EntriesBefore, type Entry, isUnchanged, partOf } from './entries.ts';
import { digesting, type Opened, openObject, restOf, sha256Of, wholeOf } from './objects.ts';
import type { Listed } from './pages.ts';

/** Of small objects together. */
const GROUP_BYTES = 2 * 1024 * 1024;
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

export function storingIntake(ctx: Context, client: Client, sink: Sink, previous: Source | null, told: Told): Intake {
  const work = bounds(client);
  async function large(opened: Opened): Promise<Entry> {
    const { body, sha256 } = digesting(restOf(ctx, client, opened));
    await sink.put(ctx, partOf(opened.entry), body);
    return { ...opened.entry, sha256: sha256() };
  }
  return {
    async take(bucket, page, earlier) {
      const kept: KeptPart[] = [];
      const left: Listed[] = [];
      const entries = new Map<Listed, Entry>();
      for (const listed of page) {
        const before = earlier.get(listed);
        const entry = listed.marker ? markerEntry(bucket, listed) : before && asListed(before, listed);
        if (entry) entries.set(listed, entry);
        else left.push(listed);
        if (!entry?.marker && entry && previous) kept.push(keptPart(entry, previous));
      }
      if (kept.length > 0) await keepAll(ctx, sink, kept);
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
        group.push({ name: partOf(opened.entry), whole, sha256 });
        bytes += whole.length;
        if (bytes >= GROUP_BYTES) await flush();
      });
      await flush();
      return inOrder(page, entries);
    },
  };
}

/** Reads every object; keeps nothing. */
export function digestingIntake(ctx: Context, client: Client, told: Told): Intake {
  const work = bounds(client);
  return {
    async take(bucket, page) {
      const entries = new Map<Listed, Entry>();
      for (const listed of page) if (listed.marker) entries.set(listed, markerEntry(bucket, listed));
      const left = page.filter(({ marker }) => !marker);
      await eachObject(ctx, client, { bucket, left, told, work }, async (opened, listed) => {
        const sum = digesting(restOf(ctx, client, opened));
        for await (const _ of sum.body) ctx.signal.throwIfAborted();
        entries.set(listed, { ...opened.entry, sha256: sum.sha256() });
      });
      return inOrder(page, entries);
    },
  };
}

/** Goes by the listing alone. */
export const countingIntake: Intake = {
  async take(bucket, page) {
    return page.map((listed) => {
      if (listed.marker) return markerEntry(bucket, listed);
      const { key, version, latest, modified, etag, bytes } = listed;
      return { bucket, key, version, latest, modified, etag, bytes, sha256: null };
    });
  },
};

/** The entries of an earlier point that tell of unchanged objects. */
export async function unchangedIn(
  before: EntriesBefore | null,
  bucket: string,
  page: readonly Listed[],
): Promise<Map<Listed, Entry>> {
  const unchanged = new Map<Listed, Entry>();
  if (!before) return unchanged;
  let key: string | null = null;
  let entries: readonly Entry[] = [];
  for (const listed of page) {
    if (listed.key !== key) entries = await before.of(bucket, listed.key);
    key = listed.key;
    const entry = entries.find((each) => isUnchanged(each, listed));
    if (entry?.sha256) unchanged.set(listed, entry);
  }
  return unchanged;
}

/** What bounds the memory: an object has its place from the first byte until the store has it. */
interface Bounds {
  readonly small: Gate;
  readonly large: Gate;
}
function bounds({ settings: { connections } }: Client): Bounds {
  return { small: gate(connections), large: gate(Math.min(connections, LARGE_PARALLEL)) };
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
        if (!isFailure(error, 'different') || changes >= CHANGES_MAX) throw error;
        told.changed(`${bucket}/${listed.key}`);
        now = await listedNow(ctx, client, bucket, listed);
      }
    }
    told.vanished(`${bucket}/${listed.key}`);
  }
  await mapBounded(left, client.settings.connections, (listed) =>
    (listed.bytes > WHOLE_BYTES_MAX ? work.large : work.small).run(() => one(listed)),
  );
}

/** As a listing would tell of it now. Null when it is gone. */
async function listedNow(ctx: Context, client: Client, bucket: string, listed: Listed): Promise<Listed | null> {
  const what = `looking at ${bucket}/${listed.key}`;
  try {
    const { headers } = await client.send(ctx, what, { method: 'HEAD', bucket, key: listed.key });
    const bytes = Number(headers['content-length']);
    const modified = new Date(headers['last-modified'] ?? '');
    if (!Number.isSafeInteger(bytes) || Number.isNaN(modified.getTime())) {
      throw new Failure('unreachable', `${what}: the answer was none of S3`);
    }
    return { ...listed, bytes, modified: modified.toISOString(), etag: (headers.etag ?? '').replaceAll('"', '') };
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    throw error;
  }
}

function keptPart(entry: Entry, { point, component }: Source): KeptPart {
  const name = partOf(entry);
  return { name, from: { name, bytes: entry.bytes ?? 0, point, component } };
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
