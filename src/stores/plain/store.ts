// The plain store: points as dated files that `gunzip` and `psql` restore. docs/format-plain.md is its contract.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import { isPointId } from '../../core/manifest.ts';
import type { Context, Receipt } from '../../core/model.ts';
import { isThere } from '../../core/objects.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { parseSettings } from '../../core/settings.ts';
import type { Bucket, Draft, DraftPlan, Store, StoreFormat } from '../../core/storage.ts';
import { adopt } from './adopt.ts';
import { plainArchive } from './archive.ts';
import { assertKept } from './book.ts';
import { checkPoint, unreadable } from './check.ts';
import { announcedFiles, openDraft, type PlainDraft, planSchema } from './draft.ts';
import { putAboutFolder } from './folder.ts';
import { openIndex, type PartIndex } from './index.ts';
import { plainJournals } from './journals.ts';
import {
  DRAFTS,
  draftKey,
  indexKey,
  isFolder,
  JOURNALS,
  OWN,
  OWNER_KEY,
  PARTS,
  pendingKey,
  receiptsPrefix,
  segment,
} from './keys.ts';
import {
  findPoint,
  ownPlaceOf,
  type PlainPoint,
  type Proof,
  placeOf,
  proofSchema,
  renderManifest,
} from './manifest.ts';
import { deleteKeys, getJson, keysBelow, keysOf, putJson } from './objects.ts';
import { isDamage, points } from './points.ts';
import { reclaim, refuseCleared, removePoint } from './reclaim.ts';
import { plainRecords } from './records.ts';
import { type Layout, type PlainSettings, plainSettings } from './settings.ts';
import type { DraftStore } from './sink.ts';
import { openSource } from './source.ts';

const RESTIC_CONFIG = 'config';
const RESTIC_KEYS = 'keys/';

const ownerSchema = z.object({ format: z.literal(1), stack: z.string(), layout: z.enum(['dated', 'by-component']) });
const receiptSchema = z.object({ component: z.string(), parts: z.number(), bytes: z.number(), proof: proofSchema });

export const plainFormat = {
  format: 'plain',
  async create(ctx, bucket, settings) {
    const { stack, layout } = parse(settings);
    await refuseOccupied(ctx, bucket);
    const owner = { format: 1, stack, layout, created_at: ctx.now().toISOString() };
    await putJson(ctx, bucket, OWNER_KEY, owner, true);
    try {
      await refuseRestic(ctx, bucket); // that somebody makes here at the same time: each looks after it has written
    } catch (error) {
      if (isFailure(error, 'exists')) await bucket.delete(ctx, OWNER_KEY);
      throw error;
    }
  },
  async open(ctx, bucket, settings) {
    const { stack, layout } = parse(settings);
    const owner = await readOwner(ctx, bucket);
    if (owner.stack !== stack) {
      throw new Failure('not-this-stack', `the store at ${bucket.url} belongs to stack ${owner.stack}, not ${stack}`);
    }
    if (owner.layout !== layout) {
      throw new Failure('settings-invalid', `the store at ${bucket.url} has layout ${owner.layout}, not ${layout}`);
    }
    return plainStore(bucket, layout);
  },
  isEssential: (key) =>
    key.startsWith(OWN) ? !key.startsWith(PARTS) && !key.startsWith(JOURNALS) : /^[^/]+\/manifest\.json$/.test(key),
} satisfies StoreFormat;

function parse(settings: unknown): PlainSettings {
  return parseSettings(plainSettings, settings, 'plain store');
}

/** Files of the old scripts may be there: they can be imported. Another store may not. */
async function refuseOccupied(ctx: Context, bucket: Bucket): Promise<void> {
  for await (const key of keysBelow(ctx, bucket, OWN)) {
    throw new Failure('exists', `there is a store at ${bucket.url} already: it has ${key}`);
  }
  await refuseRestic(ctx, bucket);
}

async function refuseRestic(ctx: Context, bucket: Bucket): Promise<void> {
  const found = new Failure('exists', `there is a restic repository at ${bucket.url}`);
  if (await isThere(ctx, bucket, RESTIC_CONFIG)) throw found;
  for await (const _ of bucket.list(ctx, RESTIC_KEYS)) throw found;
}

async function readOwner(ctx: Context, bucket: Bucket): Promise<z.output<typeof ownerSchema>> {
  try {
    return await getJson(ctx, bucket, OWNER_KEY, ownerSchema);
  } catch (cause) {
    if (!isFailure(cause, 'missing')) throw cause;
    throw new Failure('missing', `there is no store at ${bucket.url}`, { cause, hint: 'run lifeboat init' });
  }
}

function plainStore(bucket: Bucket, layout: Layout): Store {
  const find = (ctx: Context, id: string): Promise<PlainPoint | null> => findPoint(ctx, bucket, layout, id);
  const drafts: DraftStore = {
    bucket,
    layout,
    index: async (ctx, point, component) => indexOf(ctx, bucket, await find(ctx, point), point, component),
  };
  const archive = plainArchive(bucket, layout, drafts.index);
  const journals = plainJournals(bucket);
  return {
    url: bucket.url,
    records: plainRecords(bucket),
    journal: journals.journal,
    journals: journals.journals,
    ...(archive ? { archive } : {}),
    begin: (ctx, id, plan) => begin(ctx, drafts, id, plan),
    resume: (ctx, id) => resume(ctx, drafts, id),
    receipts: (ctx, id) => readReceipts(ctx, bucket, id),
    commit: (ctx, draft, point, receipts) => commit(ctx, drafts, draft, point, receipts),
    async *list(ctx) {
      for await (const { id, plain, problem } of points(ctx, bucket, layout)) {
        if (plain) yield plain.point;
        else ctx.log.warn('manifest left out of the list', { point: id, reason: messageOf(problem) });
      }
    },
    async open(ctx, point, component) {
      return openSource(bucket, point, component, await drafts.index(ctx, point, component));
    },
    async remove(ctx, ids) {
      let bytes = 0;
      for (const id of ids) {
        const plain = await find(ctx, id);
        if (plain) bytes += await removePoint(ctx, drafts, plain);
      }
      return bytes;
    },
    async *check(ctx, options) {
      for await (const { id, plain, problem } of points(ctx, bucket, layout)) {
        if (plain) yield* checkPoint(ctx, bucket, plain, options);
        else yield unreadable(id, problem);
      }
      yield* journals.check(ctx, options);
    },
    reclaim: (ctx, options) => reclaim(ctx, drafts, async (id) => await exists(ctx, drafts, id), options),
    async bytes(ctx) {
      let sum = 0;
      for await (const { plain } of points(ctx, bucket, layout))
        for (const { size } of plain?.files() ?? []) sum += size;
      for await (const each of bucket.list(ctx, OWN)) sum += each.bytes;
      return sum;
    },
    adopt: (ctx, options) =>
      adopt(
        ctx,
        bucket,
        layout,
        options,
        async (id) => (await exists(ctx, drafts, id)) || isThere(ctx, bucket, draftKey(id)),
      ),
    async [Symbol.asyncDispose]() {}, // the bucket is its opener's
  };
}

async function begin(ctx: Context, store: DraftStore, id: string, plan: DraftPlan): Promise<Draft> {
  const { bucket, layout } = store;
  assert(isPointId(id), `${id} is the id of a point`);
  const folder = placeOf(layout, id).dir;
  for await (const key of folder === '' ? [] : keysBelow(ctx, bucket, folder)) {
    throw new Failure('exists', `${bucket.url} has ${key} already`);
  }
  for (const key of [ownPlaceOf(id).manifest, draftKey(id), pendingKey(id)]) {
    if (await isThere(ctx, bucket, key)) throw new Failure('exists', `${bucket.url} has ${key} already`);
  }
  const components = plan.components.map(({ name, kind }) => ({ name, kind }));
  await putJson(ctx, bucket, draftKey(id), { stack: plan.stack, components, aside: plan.aside ?? false }, true);
  return openDraft(ctx, store, id, plan, true);
}

async function resume(ctx: Context, store: DraftStore, id: string): Promise<Draft> {
  const { bucket } = store;
  // Its process died between the manifest and the draft: what is committed is never written again.
  if (await exists(ctx, store, id)) throw new Failure('missing', `${bucket.url} has no draft ${id}: it is a point`);
  const plan = await getJson(ctx, bucket, draftKey(id), planSchema);
  await putJson(ctx, bucket, draftKey(id), plan); // it is young again, which `reclaim` sees
  if (await isThere(ctx, bucket, pendingKey(id))) {
    throw new Failure('missing', `${bucket.url} has no draft ${id} any more: it is being cleared away`);
  }
  return openDraft(ctx, store, id, plan, false);
}

async function readReceipts(ctx: Context, bucket: Bucket, id: string): Promise<readonly Receipt[]> {
  const receipts: Receipt[] = [];
  for await (const key of keysBelow(ctx, bucket, receiptsPrefix(id))) {
    receipts.push(await getJson(ctx, bucket, key, receiptSchema));
  }
  return receipts;
}

/** The manifest is the last thing that is written: a point exists exactly when its manifest does. */
async function commit(
  ctx: Context,
  store: DraftStore,
  draft: Draft,
  point: RecoveryPoint,
  receipts: readonly Receipt[],
): Promise<RecoveryPoint> {
  const { bucket } = store;
  assert(draft.id === point.id, 'a draft becomes the point of its own id');
  const { place, committing } = draft as PlainDraft;
  const proofs = await proofsOf(ctx, bucket, point, receipts);
  const manifest = renderManifest(place, point, proofs);
  const sha256 = createHash('sha256').update(manifest).digest('hex');
  if (await exists(ctx, store, point.id)) throw new Failure('exists', `${bucket.url} has a point ${point.id} already`);
  await dropUnused(ctx, store, point, proofs);
  await finishFolders(ctx, bucket, point, proofs);
  await bucket.put(ctx, place.digest, Buffer.from(`${sha256}\n`));
  await refuseCleared(ctx, bucket, point.id);
  await assertKept(ctx, bucket, point.id); // after it: a note goes once the draft is gone
  committing();
  await bucket.put(ctx, place.manifest, manifest, { ifAbsent: true, contentType: 'application/json' });
  // It is committed: what the draft leaves is rubbish, which `reclaim` finds.
  await deleteKeys(ctx, bucket, keysBelow(ctx, bucket, `${DRAFTS}${point.id}/`)).catch(() => undefined);
  return point;
}

/** Each component that was captured has a receipt, whose part list lies where it was put. */
async function proofsOf(
  ctx: Context,
  bucket: Bucket,
  point: RecoveryPoint,
  receipts: readonly Receipt[],
): Promise<ReadonlyMap<string, Proof>> {
  const proofs = new Map(receipts.map((each) => [each.component, receiptSchema.parse(each).proof]));
  for (const [component, { error }] of Object.entries(point.components)) {
    if (error) proofs.delete(component);
    else {
      const proof = proofs.get(component);
      assert(proof, `component ${component} of ${point.id} has a receipt`);
      const { bytes } = await bucket.head(ctx, indexKey(point.id, component));
      if (bytes !== proof.index.bytes) {
        throw new Failure('checksum', `the part list of ${point.id}/${component} is not the one of its receipt`);
      }
    }
  }
  return proofs;
}

/** Files of components that failed, or of an earlier try, are no part of the point. */
async function dropUnused(
  ctx: Context,
  store: DraftStore,
  point: RecoveryPoint,
  proofs: ReadonlyMap<string, Proof>,
): Promise<void> {
  const { bucket } = store;
  const used = new Set([...proofs.values()].flatMap(({ files }) => files.map(({ file }) => file)));
  for await (const file of announcedFiles(ctx, store, point.id)) {
    if (!used.has(file)) await deleteKeys(ctx, bucket, keysOf(ctx, bucket, [file]));
  }
  const kept = new Set([...proofs.keys()].map((component) => `${segment(component)}/`));
  const parts = `${PARTS}${point.id}/`;
  for await (const folder of bucket.folders(ctx, parts)) {
    if (!kept.has(folder)) await deleteKeys(ctx, bucket, keysBelow(ctx, bucket, `${parts}${folder}`));
  }
}

/** Folders tell by themselves what they are. A crash leaves one that is whole, of a point that never was. */
async function finishFolders(
  ctx: Context,
  bucket: Bucket,
  point: RecoveryPoint,
  proofs: ReadonlyMap<string, Proof>,
): Promise<void> {
  for (const [component, { folder, files }] of proofs) {
    const captured = point.components[component];
    const place = files.find(({ file }) => isFolder(file));
    if (folder && captured && place) {
      await putAboutFolder(ctx, bucket, place.file, { point, component, captured, files: folder });
    }
  }
}

/** Also when its manifest is damaged. */
async function exists(ctx: Context, { bucket, layout }: DraftStore, id: string): Promise<boolean> {
  try {
    return (await findPoint(ctx, bucket, layout, id)) !== null;
  } catch (error) {
    if (isDamage(error)) return true;
    throw error;
  }
}

async function indexOf(
  ctx: Context,
  bucket: Bucket,
  plain: PlainPoint | null,
  point: string,
  component: string,
): Promise<PartIndex> {
  const proof = plain?.index(component);
  if (!proof) {
    const what = plain ? `point ${point} holds no component ${component}` : `there is no point ${point}`;
    throw new Failure('missing', `${bucket.url}: ${what}`);
  }
  return await openIndex(ctx, bucket, { point, component }, proof);
}
