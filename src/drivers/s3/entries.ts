// objects.ndjson: every object, version and delete marker of a point, one JSON document a line, by bucket and key (in
// the order of bytes), the versions of a key from the oldest on. It is what a restore goes by, and what tells the next
// capture which objects are unchanged.

import { hash } from 'node:crypto';
import { lineBatchesOf } from '../../core/bytes.ts';
import { shapedLine } from '../../core/inventory.ts';
import type { Context, InventoryLine, Json, Source } from '../../core/model.ts';
import type { Listed } from './pages.ts';
import { isText, keyOrder } from './text.ts';

export const OBJECTS_PART = 'objects.ndjson';
const ID = /^[0-9a-f]{32}$/;
const DIGEST = /^[0-9a-f]{64}$/;
const ORDINAL_CHARS = 7;
const SETTLED_MS = 2000;

type Texts = Readonly<Record<string, string>>;

export interface Entry {
  readonly bucket: string;
  readonly key: string;
  /** Null where only current objects were captured. */
  readonly version: string | null;
  readonly latest: boolean;
  readonly modified: string;
  /** A delete marker has nothing of what follows. */
  readonly marker?: true;
  readonly etag?: string;
  readonly bytes?: number;
  /** Null where it was not read. */
  readonly sha256?: string | null;
  /** Content-Type and the like, as they are sent. */
  readonly headers?: Texts;
  readonly metadata?: Texts;
  readonly tags?: Texts;
  readonly storageClass?: string;
  readonly retention?: { readonly mode: string; readonly until: string };
  readonly hold?: true;
  /** As the server gives it. */
  readonly acl?: string;
  /** When tags, ACL and locks were last asked for, where that was for an earlier point: they change without a trace. */
  readonly seen?: string;
  /** Of a live inventory: as a restore has written it, and not read since. */
  readonly unread?: true;
}

/** The part that holds the bytes of an object. The same object has the same part in every point. */
export function partOf({ bucket, key, version }: Pick<Entry, 'bucket' | 'key' | 'version'>): string {
  const id = hash('sha256', JSON.stringify([bucket, key, version]), 'hex').slice(0, 32);
  return `objects/${id.slice(0, 2)}/${id}`;
}

/** As it is stored, with `id` the last segment of its part. */
export function entryJson(entry: Entry): object {
  const { storageClass, ...rest } = entry;
  const id = entry.marker ? undefined : partOf(entry).slice(-32);
  return { ...rest, storage_class: storageClass, id };
}

/** In one line. */
export function entryLine(entry: Entry): string {
  return `${JSON.stringify(entryJson(entry))}\n`;
}

/** In the order of the lines: versions of one key are equal. */
export function entryOrder(a: Pick<Entry, 'bucket' | 'key'>, b: Pick<Entry, 'bucket' | 'key'>): number {
  return bucketOrder(a.bucket, b.bucket) || keyOrder(a.key, b.key);
}

/** So that 'a/…' and 'a-b/…' stand as inventories have them. */
export function bucketOrder(a: string, b: string): number {
  const [x, y] = [`${a}/`, `${b}/`];
  return x < y ? -1 : x > y ? 1 : 0;
}

/**
 * Whether an object is as it was when this entry was made of it, for a point whose cut was at `cutMs`. One that was
 * written just before may have been written again: some servers tell times in seconds.
 */
export function isUnchanged(entry: Entry, listed: Listed, cutMs: number): boolean {
  return (
    (entry.version !== null || Date.parse(entry.modified) < cutMs - SETTLED_MS) &&
    entry.version === listed.version &&
    entry.etag === listed.etag &&
    entry.bytes === listed.bytes &&
    entry.modified === listed.modified &&
    listed.etag !== '' &&
    !listed.marker
  );
}

/** Checks every line: the store is untrusted. */
export async function* entryBatches(ctx: Context, source: Source): AsyncIterable<Entry[]> {
  const what = `the objects of ${source.point}/${source.component}`;
  for await (const lines of lineBatchesOf(source.get(ctx, OBJECTS_PART))) {
    yield lines.filter((line) => line !== '').map((line) => shapedLine(line, entryFrom, what));
  }
}

/** What equality is about; `ordinal` counts the versions of a key from the oldest on. */
export function inventoryLine(entry: Entry, ordinal: number): InventoryLine {
  const { bucket, key, version, marker, bytes, sha256, tags, retention, hold, seen, unread } = entry;
  const kind = version === null ? 'object' : 'version';
  const place = `${bucket}/${key}`;
  const name = version === null ? place : `${place}\0${String(ordinal).padStart(ORDINAL_CHARS, '0')}`;
  if (marker) return { kind, name, count: null, digest: 'delete-marker' };
  const detail: Record<string, Json> = {};
  if (tags && Object.keys(tags).length > 0) detail.tags = hash('sha256', JSON.stringify(sorted(tags)), 'hex');
  if (seen !== undefined) detail.seen = seen;
  if (unread) detail.unread = true;
  if (retention) detail.retention = { ...retention };
  if (hold) detail.hold = true;
  return {
    kind,
    name,
    count: bytes ?? null,
    digest: sha256 ? digestOf(entry, sha256) : null,
    ...(Object.keys(detail).length > 0 ? { detail } : {}),
  };
}

/** Of the content and of what is written together with it. */
function digestOf({ headers, metadata }: Entry, sha256: string): string {
  const about = JSON.stringify([sorted(headers), sorted(metadata)]);
  return `sha256:${hash('sha256', `${sha256}\n${about}`, 'hex')}`;
}

function sorted(texts: Texts = {}): [string, string][] {
  return Object.entries(texts).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** By hand: there are millions of them, and a schema takes as long as all the rest. Null for what is none. */
export function entryFrom(value: unknown): Entry | null {
  if (!isObject(value)) return null;
  const { storage_class: storageClass, id, ...rest } = value;
  const entry = { ...rest, ...(storageClass === undefined ? {} : { storageClass }) };
  if (!isEntry(entry)) return null;
  // What it says of itself is what is read.
  if (!entry.marker && (typeof id !== 'string' || !ID.test(id) || partOf(entry).slice(-32) !== id)) return null;
  return entry;
}

function isEntry(value: object): value is Entry {
  const {
    bucket,
    key,
    version,
    latest,
    modified,
    marker,
    bytes,
    sha256,
    ...more
  }: Partial<Record<keyof Entry, unknown>> = value;
  const known =
    typeof bucket === 'string' &&
    /^[A-Za-z0-9._-]{1,63}$/.test(bucket) &&
    typeof key === 'string' &&
    key !== '' &&
    isText(key) &&
    (version === null || typeof version === 'string') &&
    typeof latest === 'boolean' &&
    typeof modified === 'string' &&
    !Number.isNaN(Date.parse(modified));
  if (!known || marker === true) return known;
  const digested = sha256 === null || (typeof sha256 === 'string' && DIGEST.test(sha256));
  const { etag, headers, metadata, tags, storageClass, retention, hold, acl, seen } = more;
  return (
    typeof etag === 'string' &&
    Number.isSafeInteger(bytes) &&
    (bytes as number) >= 0 &&
    digested &&
    [headers, metadata, tags].every((each) => each === undefined || isTexts(each)) &&
    [storageClass, acl, seen].every((each) => each === undefined || typeof each === 'string') &&
    (retention === undefined || isRetention(retention)) &&
    (hold === undefined || hold === true)
  );
}

function isRetention(value: unknown): boolean {
  return isObject(value) && typeof value.mode === 'string' && typeof value.until === 'string';
}

function isTexts(value: unknown): boolean {
  // A line break in a header would begin another one.
  return (
    isObject(value) &&
    Object.entries(value).every(([name, text]) => typeof text === 'string' && !/[\r\n\0]/.test(name + text))
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Entries of an earlier point, walked in step with a listing. */
export interface EntriesBefore extends AsyncDisposable {
  /** All versions of this key. Asked in the order of entries. */
  of(bucket: string, key: string): Promise<readonly Entry[]>;
}

export function entriesBefore(ctx: Context, previous: Source): EntriesBefore {
  const batches = entryBatches(ctx, previous)[Symbol.asyncIterator]();
  let entries: readonly Entry[] = [];
  let at = 0;
  async function fill(): Promise<boolean> {
    while (at >= entries.length) {
      const next = await batches.next();
      if (next.done) return false;
      entries = next.value;
      at = 0;
    }
    return true;
  }
  return {
    async of(bucket, key) {
      const found: Entry[] = [];
      while (at < entries.length || (await fill())) {
        const entry = entries[at];
        if (!entry) break;
        const order = entryOrder(entry, { bucket, key });
        if (order > 0) break;
        if (order === 0) found.push(entry);
        at += 1;
      }
      return found;
    },
    async [Symbol.asyncDispose]() {
      await batches.return?.();
    },
  };
}
