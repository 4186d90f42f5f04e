// A point being written. Files of the plain layout are announced before they are written, so that what a dead process
// left can be told from files of other programs.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { measured } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context, Part, PartMeta, PartRef, Receipt, Sink } from '../../core/model.ts';
import { type Gate, gate } from '../../core/parallel.ts';
import type { Bucket, Draft, DraftPlan } from '../../core/storage.ts';
import { type Entry, entrySpool, partOf } from './entries.ts';
import { gzipped } from './gzip.ts';
import {
  announcedKey,
  announcedPrefix,
  DRAFTS,
  draftKey,
  fileKey,
  INDEXES,
  indexKey,
  mayBelong,
  ownDigestKey,
  PARTS,
  partKey,
  pendingKey,
  receiptKey,
} from './keys.ts';
import { isThere, ownPlaceOf, type Place, type PlainFile, type Proof, placeOf } from './manifest.ts';
import { deleteKeys, findJson, findNote, keysBelow, putBody, putJson } from './objects.ts';
import type { Layout } from './settings.ts';

const PUTS_AT_ONCE = 16;
const CLEANUP_MS_MAX = 30_000;

export const planSchema = z.object({
  stack: z.string(),
  components: z.array(z.object({ name: z.string(), kind: z.string() })),
  aside: z.boolean().default(false),
});
const fileNoteSchema = z.object({ file: z.string() });
const announcedSchema = fileNoteSchema.extend({ component: z.string() });

export interface PlainBucket {
  readonly bucket: Bucket;
  readonly layout: Layout;
}
/** What a draft needs of its store. */
export interface DraftStore extends PlainBucket {
  /** The entry of a part of a committed point. */
  entry(ctx: Context, point: string, component: string, name: string): Promise<Entry>;
}
export interface PlainDraft extends Draft {
  readonly place: Place;
  /** From now on its files may belong to a point: giving it up deletes nothing any more. */
  committing(): void;
}

/** `owned` by who began it: given up in order, it leaves nothing. One that was resumed is left to whoever began it. */
export function openDraft(ctx: Context, store: DraftStore, id: string, plan: DraftPlan, owned: boolean): PlainDraft {
  const puts = gate(PUTS_AT_ONCE);
  const place = plan.aside ? ownPlaceOf(id) : placeOf(store.layout, id);
  let deletes = owned;
  const sinks: OpenSink[] = [];
  return {
    id,
    place,
    sink(component) {
      const sink = openSink(ctx, store, { id, plan, component, puts });
      sinks.push(sink);
      return sink;
    },
    committing() {
      deletes = false;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(sinks.map((sink) => sink[Symbol.asyncDispose]()));
      if (!deletes) return;
      const last = { ...ctx, signal: AbortSignal.timeout(CLEANUP_MS_MAX) };
      await giveUp(last, store, place).catch(() => undefined); // rubbish at most, and `reclaim` finds it
    },
  };
}

/** Nothing goes if somebody may have committed it: who commits puts the checksum, then looks for the note. */
async function giveUp(ctx: Context, store: PlainBucket, { id, manifest, digest }: Place): Promise<void> {
  const { bucket } = store;
  await putJson(ctx, bucket, pendingKey(id), { files: [] });
  const taken = (await isThere(ctx, bucket, manifest)) || (await isThere(ctx, bucket, digest));
  if (!taken) await deleteDraft(ctx, store, id);
  await bucket.delete(ctx, pendingKey(id));
}

/** 'lease-lost' when somebody else has committed the draft, or cleared it away. */
export async function assertKept(ctx: Context, bucket: Bucket, id: string): Promise<void> {
  if (await isThere(ctx, bucket, draftKey(id))) return;
  throw new Failure('lease-lost', `${bucket.url}: the draft ${id} was committed or cleared away by somebody else`);
}

/**
 * Deletes all that a draft has written. The part lists go first: without them nobody can commit it any more. Its own
 * description goes last, so that a crash in between is made good later.
 */
export async function deleteDraft(ctx: Context, store: PlainBucket, id: string): Promise<void> {
  const { bucket } = store;
  await deleteKeys(ctx, bucket, keysBelow(ctx, bucket, `${INDEXES}${id}/`));
  await deleteKeys(ctx, bucket, announcedFiles(ctx, store, id));
  await deleteFolders(ctx, bucket, id);
}

/** All that lies under 0-lifeboat/ for an id that has no manifest. */
export async function deleteFolders(ctx: Context, bucket: Bucket, id: string): Promise<void> {
  for (const folder of [INDEXES, PARTS, DRAFTS]) {
    await deleteKeys(ctx, bucket, keysBelow(ctx, bucket, `${folder}${id}/`));
  }
  await bucket.delete(ctx, ownDigestKey(id));
}

/** Files that were written, or were about to be. */
export async function* announcedFiles(
  ctx: Context,
  { bucket, layout }: PlainBucket,
  id: string,
): AsyncIterable<string> {
  for await (const key of keysBelow(ctx, bucket, announcedPrefix(id))) {
    const note = await findNote(ctx, bucket, key, fileNoteSchema);
    if (!note) continue; // committed or given up meanwhile
    const { file } = note;
    if (mayBelong(layout, id, file)) yield file;
    else ctx.log.warn('a draft names a file that is none of its own: left alone', { draft: id, file });
  }
}

type Written = Pick<Entry, 'bytes' | 'sha256' | 'gzip' | 'stored'>;
type Write = (key: string) => Promise<Written>;
interface OpenSink extends Sink, AsyncDisposable {}

function openSink(
  ctx: Context,
  { bucket, layout, entry }: DraftStore,
  { id, plan, component, puts }: { id: string; plan: DraftPlan; component: string; puts: Gate },
): OpenSink {
  const planned = plan.components.find(({ name }) => name === component);
  assert(planned, `component ${component} is part of the plan of ${id}`);
  const onlyOfKind = plan.components.filter(({ kind }) => kind === planned.kind).length === 1;
  const spool = entrySpool(ctx);
  const files: (PlainFile & { readonly item: string | null })[] = [];
  const claimed = new Set<string>();
  const running = new Set<Promise<unknown>>();
  const totals = { parts: 0, bytes: 0 };
  let closed = false;

  /** Announces a file in its plain form; refuses the name of another part, and of a file that others have put there. */
  async function announce(putCtx: Context, file: string): Promise<string> {
    if (claimed.has(file))
      throw new Failure('exists', `two parts of ${id}/${component} would both be the file ${file}`);
    claimed.add(file);
    const note = await findJson(putCtx, bucket, announcedKey(id, file), announcedSchema);
    if (note && note.component !== component)
      throw new Failure('exists', `a part of ${id}/${component} and one of ${note.component} would both be ${file}`);
    if (note) return file; // of an earlier try
    if (await isThere(putCtx, bucket, file)) throw new Failure('exists', `${bucket.url} has ${file} already`);
    await putJson(putCtx, bucket, announcedKey(id, file), { file, component }, true);
    return file;
  }
  async function putOne(putCtx: Context, given: string, meta: PartMeta | undefined, write: Write): Promise<Part> {
    putCtx.signal.throwIfAborted();
    const { rendition, attributes } = meta ?? {};
    const name = rendition?.name ?? given;
    const file = rendition && !plan.aside ? fileKey(layout, id, { name: component, onlyOfKind }, rendition) : undefined;
    const key = file === undefined ? partKey(id, component, name) : await announce(putCtx, file);
    try {
      const made = { ...(await write(key)), name, key, ...(attributes ? { attributes } : {}) };
      await spool.add(made);
      if (file !== undefined) files.push({ file, size: made.stored.bytes, item: rendition?.item ?? null });
      totals.parts += 1;
      totals.bytes += made.bytes;
      return partOf(made, id, component);
    } catch (error) {
      if (file !== undefined) claimed.delete(file);
      throw error;
    }
  }
  /** Through the gate; the receipt waits for it. */
  function put(putCtx: Context, name: string, meta: PartMeta | undefined, write: Write): Promise<Part> {
    assert(!closed, `${id}/${component} takes no more parts after its receipt`);
    const job = puts.run(() => putOne(putCtx, name, meta, write));
    const settled: Promise<unknown> = job
      .catch(() => undefined) // its caller has it
      .finally(() => running.delete(settled));
    running.add(settled);
    return job;
  }
  return {
    put: (putCtx, name, body, meta) => put(putCtx, name, meta, (key) => store(putCtx, bucket, key, body, meta)),
    keep: (putCtx, name, from, meta) =>
      put(putCtx, name, meta, async (key) => {
        const { attributes: _, ...old } = await entry(putCtx, from.point, from.component, from.name);
        await putBody(putCtx, bucket, key, unchanged(bucket.get(putCtx, old.key), old, from));
        return old;
      }),
    async receipt(putCtx) {
      while (running.size > 0) await Promise.all(running);
      closed = true;
      await assertKept(putCtx, bucket, id);
      const list = measured(spool.lines());
      await putBody(putCtx, bucket, indexKey(id, component), list.body);
      const proof: Proof = { index: list.sum(), files: inOrder(files) };
      const receipt: Receipt = { component, ...totals, proof };
      await putJson(putCtx, bucket, receiptKey(id, component), { ...receipt });
      return receipt;
    },
    [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
  };
}

async function store(
  ctx: Context,
  bucket: Bucket,
  key: string,
  body: Bytes,
  meta: PartMeta | undefined,
): Promise<Written> {
  const { transform, gzip = false } = meta?.rendition ?? {};
  const content = measured(transform ? transform(ctx, body) : body);
  const packed = gzip ? measured(gzipped(content.body)) : null;
  await putBody(ctx, bucket, key, packed?.body ?? content.body);
  const sum = content.sum();
  return { ...sum, gzip, stored: packed?.sum() ?? sum };
}

/** Passes stored bytes on, and breaks off at their end when they are not what was written once. */
async function* unchanged(body: Bytes, { stored }: Entry, from: PartRef): Bytes {
  const copy = measured(body);
  yield* copy.body;
  const { bytes, sha256 } = copy.sum();
  if (bytes !== stored.bytes || sha256 !== stored.sha256) {
    throw new Failure('checksum', `${from.point}/${from.component}/${from.name} was changed in the store`);
  }
}

/** What has a name of its own comes first: of a database and its globals, `file` in the manifest is the database. */
function inOrder(files: readonly (PlainFile & { readonly item: string | null })[]): PlainFile[] {
  const rank = ({ item, file }: { item: string | null; file: string }): string => `${item === null ? 1 : 0}${file}`;
  return files.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1)).map(({ file, size }) => ({ file, size }));
}
