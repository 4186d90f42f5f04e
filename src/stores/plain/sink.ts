// Brings the parts of one component of a draft to where they are to lie.

import assert from 'node:assert/strict';
import { bytesOf, measured } from '../../core/bytes.ts';
import { only } from '../../core/many-parts.ts';
import type { Bytes, Context, KeptPart, Part, PartMeta, PartRef, Sink } from '../../core/model.ts';
import { type Gate, mapBounded } from '../../core/parallel.ts';
import { behind } from './behind.ts';
import { type Book, type BookOptions, openBook, type PlacedPart, type PlainBucket, type Written } from './book.ts';
import { type Entry, placeIn } from './entries.ts';
import type { Target } from './files.ts';
import { gzipped } from './gzip.ts';
import type { PartIndex } from './index.ts';
import { changed, findEntry, wholeStored } from './source.ts';

const AT_ONCE = 16;
/** A part that is kept and larger is copied as a stream. */
const KEPT_BYTES_MAX = 256 * 1024;
/** Of parts that are kept, in memory at a time. */
const GROUP_BYTES = 2 * 1024 * 1024;

/** What a draft needs of its store. */
export interface DraftStore extends PlainBucket {
  /** The part list of a component of a committed point. */
  index(ctx: Context, point: string, component: string): Promise<PartIndex>;
}
interface SinkOptions extends BookOptions {
  /** These two are the draft's. */
  readonly puts: Gate;
  readonly held: Gate;
}
export interface OpenSink extends Sink, AsyncDisposable {
  /** Files that are open get no more parts, and never come to be. Nothing is on its way when it resolves. */
  leave(): Promise<void>;
}

type Write = (target: Target) => Promise<Written>;
/** A part that lies under its key as it is. */
interface WholePlaced extends PlacedPart {
  readonly body: Uint8Array;
}

export function openSink(ctx: Context, store: DraftStore, options: SinkOptions): OpenSink {
  const { bucket } = store;
  const book = openBook(ctx, store, options);
  const entryOf = entriesOf(store);
  const small = behind(bucket, options.held);
  const running = new Set<Promise<unknown>>();

  async function putOne(putCtx: Context, name: string, meta: PartMeta | undefined, write: Write): Promise<Part> {
    putCtx.signal.throwIfAborted();
    const place = book.place(putCtx, name, meta);
    return only(await book.enter([{ place, written: await write(place.take), meta }]));
  }
  /** Through the gate; the receipt waits for it. */
  function through(putCtx: Context, name: string, meta: PartMeta | undefined, write: Write): Promise<Part> {
    book.assertOpen();
    const job = options.puts.run(() => putOne(putCtx, name, meta, write));
    const settled: Promise<unknown> = job
      .catch(() => undefined) // its caller has it
      .finally(() => running.delete(settled));
    running.add(settled);
    return job;
  }
  const put: Sink['put'] = (putCtx, name, body, meta) =>
    through(putCtx, name, meta, (target) => writeTo(putCtx, target, body, meta));
  const keep: Sink['keep'] = (putCtx, name, from, meta) =>
    through(putCtx, name, meta, async (target) => {
      const found = entryOf(putCtx, from);
      found.catch(() => undefined); // thrown below, unless the target fails first
      const { offset } = await target(unchanged(putCtx, store, found, from));
      return { ...sumsOf(await found), offset };
    });

  async function putTogether(putCtx: Context, parts: readonly WholePlaced[]): Promise<Part[]> {
    book.assertOpen();
    small.check();
    const ready = Promise.all(new Set(parts.map(({ place }) => place.ready)));
    const objects = parts.map(({ place: { key }, body, written: { stored } }) => ({
      key,
      body,
      sha256: stored.sha256,
    }));
    await small.put(putCtx, objects, ready);
    return await book.enter(parts);
  }
  async function leave(): Promise<void> {
    await book.giveUp();
    await small.end();
  }
  return {
    put,
    keep,
    async putAll(putCtx, parts) {
      putCtx.signal.throwIfAborted();
      const placed = parts.map(({ name, whole, sha256, meta }): WholePlaced => {
        const sum = { bytes: whole.length, sha256 };
        return {
          place: book.place(putCtx, name, meta),
          meta,
          body: whole,
          written: { ...sum, gzip: false, stored: sum },
        };
      });
      if (placed.every(isBare)) return await putTogether(putCtx, placed);
      return await mapBounded(parts, AT_ONCE, ({ name, whole, meta }) => put(putCtx, name, bytesOf(whole), meta));
    },
    keepAll: keepTogether(store, { book, entryOf, keep, putTogether }),
    async receipt(putCtx) {
      while (running.size > 0) await Promise.all(running);
      await small.end();
      small.check();
      return await book.close(putCtx);
    },
    leave,
    async [Symbol.asyncDispose]() {
      await leave();
      await book[Symbol.asyncDispose]();
    },
  };
}

/** Nothing is to be announced, joined or packed. */
function isBare({ place, meta: { rendition } = {} }: PlacedPart): boolean {
  return place.ready !== null && !rendition?.gzip && !rendition?.transform;
}

async function writeTo(ctx: Context, target: Target, body: Bytes, meta: PartMeta | undefined): Promise<Written> {
  const { transform, gzip = false, quick } = meta?.rendition ?? {};
  const content = meta?.sum && !transform ? { body, sum: meta.sum } : measured(transform ? transform(ctx, body) : body);
  const packed = gzip ? measured(gzipped(content.body, { quick })) : null;
  const { offset } = await target(packed?.body ?? content.body);
  const sum = content.sum();
  return { ...sum, gzip, stored: packed?.sum() ?? sum, offset };
}

type EntryOf = (ctx: Context, from: PartRef) => Promise<Entry>;

/** Of earlier points, each component of which is opened once. */
function entriesOf({ index }: DraftStore): EntryOf {
  const opened = new Map<string, Promise<PartIndex>>();
  return async (ctx, { point, component, name }) => {
    const where = `${point}/${component}`;
    let found = opened.get(where);
    if (!found) opened.set(where, (found = index(ctx, point, component)));
    return await findEntry(ctx, await found, where, name);
  };
}

/** Small parts are read and put together. */
function keepTogether(
  store: DraftStore,
  {
    book,
    entryOf,
    keep,
    putTogether,
  }: {
    readonly book: Book;
    readonly entryOf: EntryOf;
    readonly keep: Sink['keep'];
    readonly putTogether: (ctx: Context, parts: readonly WholePlaced[]) => Promise<Part[]>;
  },
): NonNullable<Sink['keepAll']> {
  return async (ctx, kept) => {
    const made = new Map<KeptPart, Part>();
    const streamed: KeptPart[] = [];
    let group: { readonly part: KeptPart; readonly placed: PlacedPart; readonly entry: Entry }[] = [];
    let bytes = 0;
    async function flush(): Promise<void> {
      const full = group;
      group = [];
      bytes = 0;
      const wholes = await mapBounded(full, AT_ONCE, async ({ part: { from }, placed, entry }) => {
        const body = await wholeStored(ctx, store.bucket, entry, whereOf(from));
        return { ...placed, body };
      });
      for (const [at, part] of (await putTogether(ctx, wholes)).entries()) {
        const of = full[at]?.part;
        if (of) made.set(of, part);
      }
    }
    for (const part of kept) {
      const entry = await entryOf(ctx, part.from);
      const placed = { place: book.place(ctx, part.name, part.meta), written: sumsOf(entry), meta: part.meta };
      if (placed.place.ready === null || entry.stored.bytes > KEPT_BYTES_MAX) {
        streamed.push(part);
        continue;
      }
      group.push({ part, placed, entry });
      bytes += entry.stored.bytes;
      if (bytes >= GROUP_BYTES) await flush();
    }
    if (group.length > 0) await flush();
    await mapBounded(streamed, AT_ONCE, async (part) => {
      made.set(part, await keep(ctx, part.name, part.from, part.meta));
    });
    return kept.map((part) => made.get(part) ?? assert.fail('each part is kept'));
  };
}

function sumsOf({ bytes, sha256, gzip, stored }: Entry): Omit<Written, 'offset'> {
  return { bytes, sha256, gzip, stored };
}

function whereOf({ point, component, name }: PartRef): string {
  return `${point}/${component}/${name}`;
}

/** Passes stored bytes on, and breaks off at their end when they are not what was written once. */
async function* unchanged(ctx: Context, { bucket }: DraftStore, found: Promise<Entry>, from: PartRef): Bytes {
  const old = await found;
  const copy = measured(bucket.get(ctx, old.key, placeIn(old)));
  yield* copy.body;
  const { bytes, sha256 } = copy.sum();
  if (bytes !== old.stored.bytes || sha256 !== old.stored.sha256) throw changed(whereOf(from));
}
