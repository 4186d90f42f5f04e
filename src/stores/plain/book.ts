// The parts of one component of a draft: where each lies, and what the receipt says of all.

import assert from 'node:assert/strict';
import { measured } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, Part, PartMeta, Receipt } from '../../core/model.ts';
import { isThere } from '../../core/objects.ts';
import type { Bucket, DraftPlan } from '../../core/storage.ts';
import { type Entry, entrySpool, partOf } from './entries.ts';
import { type Place, plainFiles } from './files.ts';
import { putFolderList } from './folder.ts';
import { draftKey, indexKey, receiptKey } from './keys.ts';
import type { Proof } from './manifest.ts';
import { putBody, putJson } from './objects.ts';
import type { Layout } from './settings.ts';

export interface PlainBucket {
  readonly bucket: Bucket;
  readonly layout: Layout;
}
export interface BookOptions {
  readonly id: string;
  readonly plan: DraftPlan;
  readonly component: string;
  /** Earlier sinks of the component write no more. */
  readonly left: Promise<unknown>;
}
export type NamedPlace = Place & { readonly name: string };
export type Written = Pick<Entry, 'bytes' | 'sha256' | 'gzip' | 'stored' | 'offset'>;
/** A part that lies, or is about to lie, at its place. */
export interface PlacedPart {
  readonly place: NamedPlace;
  readonly written: Written;
  readonly meta: PartMeta | undefined;
}

export interface Book extends AsyncDisposable {
  place(ctx: Context, given: string, meta: PartMeta | undefined): NamedPlace;
  enter(parts: readonly PlacedPart[]): Promise<Part[]>;
  assertOpen(): void;
  /** Stores what was entered. */
  close(ctx: Context): Promise<Receipt>;
  /** Files of several parts that are open never come to be. */
  giveUp(): Promise<void>;
}

export function openBook(
  ctx: Context,
  { bucket, layout }: PlainBucket,
  { id, plan, component, left }: BookOptions,
): Book {
  const planned = plan.components.find(({ name }) => name === component);
  assert(planned, `component ${component} is part of the plan of ${id}`);
  const onlyOfKind = plan.components.filter(({ kind }) => kind === planned.kind).length === 1;
  const spool = entrySpool(ctx);
  const owner = { name: component, onlyOfKind };
  const files = plainFiles(ctx, bucket, { layout, id, owner, aside: plan.aside ?? false, left });
  const totals = { parts: 0, bytes: 0 };
  let closed = false;
  return {
    place(putCtx, given, { rendition } = {}) {
      const name = rendition?.name ?? given;
      return { name, ...files.place(putCtx, name, rendition) };
    },
    async enter(parts) {
      const entries = parts.map(({ place: { name, key }, written, meta: { attributes } = {} }): Entry => {
        return { ...written, name, key, ...(attributes ? { attributes } : {}) };
      });
      await spool.add(entries);
      for (const { place, written } of parts) {
        place.taken(written.stored.bytes);
        totals.parts += 1;
        totals.bytes += written.bytes;
      }
      return entries.map((entry) => partOf(entry, id, component));
    },
    assertOpen: () => assert(!closed, `${id}/${component} takes no more parts after its receipt`),
    async close(putCtx) {
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
    giveUp: files.giveUp,
    [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
  };
}

/** 'lease-lost' when somebody else has committed the draft, or cleared it away. */
export async function assertKept(ctx: Context, bucket: Bucket, id: string): Promise<void> {
  if (await isThere(ctx, bucket, draftKey(id))) return;
  throw new Failure('lease-lost', `${bucket.url}: the draft ${id} was committed or cleared away by somebody else`);
}
