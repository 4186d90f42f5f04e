// A point being written. Files of the plain layout are announced before they are written, so that what a dead process
// left can be told from files of other programs.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { measured } from '../../core/bytes.ts';
import { outliving } from '../../core/context.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context, Part, PartMeta, PartRef, Receipt, Sink } from '../../core/model.ts';
import { type Gate, gate } from '../../core/parallel.ts';
import type { Bucket, Draft, DraftPlan } from '../../core/storage.ts';
import { type Entry, entrySpool, partOf, placeIn } from './entries.ts';
import { plainFiles, type Target } from './files.ts';
import { putFolderList } from './folder.ts';
import { gzipped } from './gzip.ts';
import {
  announcedPrefix,
  DRAFTS,
  draftKey,
  INDEXES,
  indexKey,
  mayBelong,
  ownDigestKey,
  PARTS,
  pendingKey,
  receiptKey,
} from './keys.ts';
import { isThere, ownPlaceOf, type Place, type Proof, placeOf } from './manifest.ts';
import { deleteKeys, findNote, keysBelow, keysOf, putBody, putJson } from './objects.ts';
import type { Layout } from './settings.ts';

const PUTS_AT_ONCE = 16;
const CLEANUP_MS_MAX = 30_000;

export const planSchema = z.object({
  stack: z.string(),
  components: z.array(z.object({ name: z.string(), kind: z.string() })),
  aside: z.boolean().default(false),
});
const fileNoteSchema = z.object({ file: z.string() });

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
  const sinks: { readonly component: string; readonly sink: OpenSink }[] = [];
  return {
    id,
    place,
    sink(component) {
      const earlier = sinks.filter((each) => each.component === component);
      const left = Promise.all(earlier.map((each) => each.sink.leave()));
      const sink = openSink(ctx, store, { id, plan, component, puts, left });
      sinks.push({ component, sink });
      return sink;
    },
    committing() {
      deletes = false;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(sinks.map(({ sink }) => sink[Symbol.asyncDispose]()));
      if (!deletes) return;
      const last = outliving(ctx, CLEANUP_MS_MAX);
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
  await deleteKeys(ctx, bucket, keysOf(ctx, bucket, announcedFiles(ctx, store, id)));
  await deleteFolders(ctx, bucket, id);
}

/** All that lies under 0-lifeboat/ for an id that has no manifest. */
export async function deleteFolders(ctx: Context, bucket: Bucket, id: string): Promise<void> {
  for (const folder of [INDEXES, PARTS, DRAFTS]) {
    await deleteKeys(ctx, bucket, keysBelow(ctx, bucket, `${folder}${id}/`));
  }
  await bucket.delete(ctx, ownDigestKey(id));
}

/** Files that were written, or were about to be, and folders. */
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

type Written = Pick<Entry, 'bytes' | 'sha256' | 'gzip' | 'stored' | 'offset'>;
type Write = (target: Target) => Promise<Written>;
interface OpenSink extends Sink, AsyncDisposable {
  /** Files that are open get no more parts, and never come to be. */
  leave(): Promise<void>;
}
interface SinkOptions {
  readonly id: string;
  readonly plan: DraftPlan;
  readonly component: string;
  readonly puts: Gate;
  /** Earlier sinks of the component write no more. */
  readonly left: Promise<unknown>;
}

function openSink(
  ctx: Context,
  { bucket, layout, entry }: DraftStore,
  { id, plan, component, puts, left }: SinkOptions,
): OpenSink {
  const planned = plan.components.find(({ name }) => name === component);
  assert(planned, `component ${component} is part of the plan of ${id}`);
  const onlyOfKind = plan.components.filter(({ kind }) => kind === planned.kind).length === 1;
  const spool = entrySpool(ctx);
  const owner = { name: component, onlyOfKind };
  const files = plainFiles(ctx, bucket, { layout, id, owner, aside: plan.aside ?? false, left });
  const running = new Set<Promise<unknown>>();
  const totals = { parts: 0, bytes: 0 };
  let closed = false;

  async function putOne(putCtx: Context, given: string, meta: PartMeta | undefined, write: Write): Promise<Part> {
    putCtx.signal.throwIfAborted();
    const { rendition, attributes } = meta ?? {};
    const name = rendition?.name ?? given;
    const { key, take, taken } = files.place(putCtx, name, rendition);
    const written = await write(take);
    const made = { ...written, name, key, ...(attributes ? { attributes } : {}) };
    await spool.add(made);
    taken(made.stored.bytes);
    totals.parts += 1;
    totals.bytes += made.bytes;
    return partOf(made, id, component);
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
    put: (putCtx, name, body, meta) => put(putCtx, name, meta, (target) => store(putCtx, target, body, meta)),
    keep: (putCtx, name, from, meta) =>
      put(putCtx, name, meta, async (target) => {
        const found = entry(putCtx, from.point, from.component, from.name);
        found.catch(() => undefined); // thrown below, unless the target fails first
        const { offset } = await target(unchanged(putCtx, bucket, found, from));
        const { bytes, sha256, gzip, stored } = await found;
        return { bytes, sha256, gzip, stored, offset };
      }),
    async receipt(putCtx) {
      while (running.size > 0) await Promise.all(running);
      closed = true;
      const named = await files.close();
      await assertKept(putCtx, bucket, id);
      const list = measured(spool.lines());
      await putBody(putCtx, bucket, indexKey(id, component), list.body);
      const folder = files.folder();
      const proof: Proof = {
        index: list.sum(),
        files: named,
        folder: folder === null ? null : await putFolderList(putCtx, bucket, folder, spool.lines()),
      };
      const receipt: Receipt = { component, ...totals, proof };
      await putJson(putCtx, bucket, receiptKey(id, component), { ...receipt });
      return receipt;
    },
    leave: files.giveUp,
    async [Symbol.asyncDispose]() {
      await files.giveUp();
      await spool[Symbol.asyncDispose]();
    },
  };
}

async function store(ctx: Context, target: Target, body: Bytes, meta: PartMeta | undefined): Promise<Written> {
  const { transform, gzip = false } = meta?.rendition ?? {};
  const content = measured(transform ? transform(ctx, body) : body);
  const packed = gzip ? measured(gzipped(content.body)) : null;
  const { offset } = await target(packed?.body ?? content.body);
  const sum = content.sum();
  return { ...sum, gzip, stored: packed?.sum() ?? sum, offset };
}

/** Passes stored bytes on, and breaks off at their end when they are not what was written once. */
async function* unchanged(ctx: Context, bucket: Bucket, found: Promise<Entry>, from: PartRef): Bytes {
  const old = await found;
  const copy = measured(bucket.get(ctx, old.key, placeIn(old)));
  yield* copy.body;
  const { bytes, sha256 } = copy.sum();
  if (bytes !== old.stored.bytes || sha256 !== old.stored.sha256) {
    throw new Failure('checksum', `${from.point}/${from.component}/${from.name} was changed in the store`);
  }
}
