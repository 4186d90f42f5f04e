// A point being written. Files of the plain layout are announced before they are written, so that what a dead process
// left can be told from files of other programs.

import { z } from 'zod';
import { outliving } from '../../core/context.ts';
import type { Context } from '../../core/model.ts';
import { isThere } from '../../core/objects.ts';
import { gate } from '../../core/parallel.ts';
import type { Bucket, Draft, DraftPlan } from '../../core/storage.ts';
import { heldGate } from './behind.ts';
import type { PlainBucket } from './book.ts';
import { announcedPrefix, DRAFTS, INDEXES, mayBelong, ownDigestKey, PARTS, pendingKey } from './keys.ts';
import { ownPlaceOf, type Place, placeOf } from './manifest.ts';
import { deleteKeys, findNote, keysBelow, keysOf, putJson } from './objects.ts';
import { type DraftStore, type OpenSink, openSink } from './sink.ts';

const PUTS_AT_ONCE = 16;
const CLEANUP_MS_MAX = 30_000;

export const planSchema = z.object({
  stack: z.string(),
  components: z.array(z.object({ name: z.string(), kind: z.string() })),
  aside: z.boolean().default(false),
});
const fileNoteSchema = z.object({ file: z.string() });

export interface PlainDraft extends Draft {
  readonly place: Place;
  /** From now on its files may belong to a point: giving it up deletes nothing any more. */
  committing(): void;
}

/** `owned` by who began it: given up in order, it leaves nothing. One that was resumed is left to whoever began it. */
export function openDraft(ctx: Context, store: DraftStore, id: string, plan: DraftPlan, owned: boolean): PlainDraft {
  const puts = gate(PUTS_AT_ONCE);
  const held = heldGate();
  const place = plan.aside ? ownPlaceOf(id) : placeOf(store.layout, id);
  let deletes = owned;
  const sinks: { readonly component: string; readonly sink: OpenSink }[] = [];
  return {
    id,
    place,
    sink(component) {
      const earlier = sinks.filter((each) => each.component === component);
      const left = Promise.all(earlier.map((each) => each.sink.leave()));
      const sink = openSink(ctx, store, { id, plan, component, puts, held, left });
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
