// A point being written: sinks for its components, receipts that outlive the process, and the commit.

import assert from 'node:assert/strict';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import { isPointId, MANIFEST_BYTES_MAX, MANIFEST_PART, manifestJson } from '../../core/manifest.ts';
import type { Context, Receipt } from '../../core/model.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import type { Draft, DraftPlan } from '../../core/storage.ts';
import { getOwn, headOf, putOwn, shaped } from './documents.ts';
import type { Lock } from './locks.ts';
import { packKey } from './pack.ts';
import { storedPoints } from './points.ts';
import { type Repository, takeOwnership } from './repository.ts';
import { componentSink, receiptSchema, treeOfReceipt } from './sink.ts';
import { foldersOf, writeRoot } from './trees.ts';
import { damagedPacks, forgetUnfit, indexedBytes, packSizes } from './unfit.ts';
import { walkTrees } from './walk.ts';
import type { Writer } from './writer.ts';

const DRAFTS = 'lifeboat/drafts/';
/** So many packs are looked up one by one; more are looked up in one listing. */
const HEADS_MAX = 32;
const HINT_AGAIN = 'run it again; nothing was published';

export interface Drafts {
  begin(ctx: Context, id: string, plan: DraftPlan): Promise<Draft>;
  resume(ctx: Context, id: string): Promise<Draft>;
  receipts(ctx: Context, id: string): Promise<readonly Receipt[]>;
  commit(ctx: Context, draft: Draft, point: RecoveryPoint, receipts: readonly Receipt[]): Promise<RecoveryPoint>;
}
interface Work {
  readonly lock: Lock;
  readonly writer: Writer;
}

export function repositoryDrafts(repository: Repository): Drafts {
  const { vault } = repository;
  const works = new WeakMap<Draft, Work>();

  /** `enter` says in the store that the draft is there, or makes sure of it; under the lock. */
  async function start(ctx: Context, id: string, enter: () => Promise<void>): Promise<Draft> {
    await using undo = new AsyncDisposableStack();
    const lock = undo.use(await repository.locks.acquire(ctx, 'shared'));
    await enter();
    await repository.indexes.refresh(ctx);
    await forgetUnfit(ctx, repository);
    const writer = undo.use(await repository.borrowWriter(ctx));
    const held = undo.move();
    const work = { lock, writer };
    const draft: Draft = {
      id,
      sink(component) {
        const sink = componentSink(repository, work, {
          point: id,
          component,
          keep: (within, receipt) => putOwn(within, vault, receiptKey(id, component), { ...receipt }),
        });
        held.use(sink);
        return sink;
      },
      [Symbol.asyncDispose]: () => held.disposeAsync(),
    };
    works.set(draft, work);
    return draft;
  }

  return {
    async begin(ctx, id, plan) {
      assert(isPointId(id), `${id} is the id of a point`);
      return await start(ctx, id, async () => {
        await takeOwnership(ctx, repository);
        await assertFree(ctx, repository, id);
        for await (const { key } of vault.bucket.list(ctx, `${DRAFTS}${id}/`)) {
          throw new Failure('exists', `${repository.url} already has a draft ${id} (${key})`);
        }
        const components = plan.components.map(({ name, kind }) => ({ name, kind }));
        const begun = { stack: plan.stack, begun_at: ctx.now().toISOString(), components };
        await putOwn(ctx, vault, draftKey(id), begun, { ifAbsent: true });
      });
    },
    async resume(ctx, id) {
      return await start(ctx, id, async () => {
        await getOwn(ctx, vault, draftKey(id));
        await assertFree(ctx, repository, id).catch((cause: unknown) => {
          if (!isFailure(cause, 'exists')) throw cause;
          throw new Failure('missing', `the draft ${id} is a point already`, { cause });
        });
      });
    },
    receipts: (ctx, id) => draftReceipts(ctx, repository, id),
    async commit(ctx, draft, point, receipts) {
      const work = works.get(draft);
      assert(work && draft.id === point.id, 'a draft of this store is committed under its id');
      await publish(ctx, repository, work, point, receipts);
      try {
        await removeDraft(ctx, repository, point.id);
      } catch (error) {
        // The point exists, and that is what the caller asks. The next reclaim removes what is left of the draft.
        ctx.log.warn('the draft of a point was left behind', { point: point.id, error: messageOf(error) });
      }
      return point;
    },
  };
}

/** Packs, then the index that names them, then the one change that makes it a point. */
async function publish(
  ctx: Context,
  repository: Repository,
  { lock, writer }: Work,
  point: RecoveryPoint,
  receipts: readonly Receipt[],
): Promise<void> {
  await repository.indexes.refresh(ctx);
  for (const pack of await damagedPacks(ctx, repository.vault)) repository.indexes.blobs.forget(pack);
  const components = receipts.map((receipt) => ({ name: receipt.component, tree: treeOfReceipt(receipt) }));
  for (const [name, { error }] of Object.entries(point.components)) {
    assert(error || components.some((each) => each.name === name), `component ${name} has a receipt`);
  }
  await assertPacksThere(
    ctx,
    repository,
    components.map(({ tree }) => tree),
  );
  const manifest = Buffer.from(`${JSON.stringify(manifestJson(point), null, 2)}\n`);
  if (manifest.length > MANIFEST_BYTES_MAX) {
    throw new Failure('value-too-large', `the manifest of ${point.id} has more than ${MANIFEST_BYTES_MAX} bytes`);
  }
  const content = await writer.addBlob(ctx, 'data', manifest);
  const entry = { name: MANIFEST_PART, bytes: manifest.length, content, attributes: undefined };
  const root = await writeRoot(ctx, foldersOf(repository, writer), components, entry);
  await writer.flush(ctx);
  await repository.indexes.save(ctx);
  await lock.assertHeld(ctx);
  await assertFree(ctx, repository, point.id);
  await assertKept(ctx, repository, point.id);
  await repository.snapshots.put(ctx, point, root);
}

async function assertFree(ctx: Context, repository: Repository, id: string): Promise<void> {
  const points = await storedPoints(ctx, repository);
  if (points.some(({ point }) => point.id === id)) {
    throw new Failure('exists', `${repository.url} already has a point ${id}`);
  }
}

/** Also when a listing does not show the point yet that somebody else has made of it: its draft went after that. */
async function assertKept(ctx: Context, { url, vault }: Repository, id: string): Promise<void> {
  if (await headOf(ctx, vault, draftKey(id))) return;
  throw new Failure('lease-lost', `${url}: the draft ${id} was committed or cleared away by somebody else`);
}

/**
 * Whoever took our lock for dead may have deleted what this point counts on, and what another process has put may be
 * damaged by now: it is looked up, not believed.
 */
async function assertPacksThere(ctx: Context, repository: Repository, trees: readonly Buffer[]): Promise<void> {
  const { blobs } = repository.indexes;
  const packs = new Set<string>();
  await walkTrees(ctx, repository, trees, {
    blob(id, tree) {
      const place = blobs.find(id, tree);
      if (!place) throw new Failure('missing', `${repository.url} has lost blob ${id.toString('hex')} of this draft`);
      if (!blobs.has(id, tree)) throw unfitFailure(repository, id, place.pack);
      packs.add(place.pack);
    },
  });
  const sizes = packs.size > HEADS_MAX ? await packSizes(ctx, repository.vault) : undefined;
  for (const pack of packs) {
    const bytes = sizes?.get(pack) ?? (await bytesOfPack(ctx, repository, pack));
    if (bytes === indexedBytes(blobs, pack)) continue;
    throw new Failure('checksum', `${repository.url}: pack ${pack} has ${bytes} bytes and was stored with others`, {
      hint: HINT_AGAIN,
    });
  }
}

async function bytesOfPack(ctx: Context, { url, vault }: Repository, pack: string): Promise<number> {
  try {
    return (await vault.bucket.head(ctx, packKey(pack))).bytes;
  } catch (cause) {
    if (!isFailure(cause, 'missing')) throw cause;
    throw new Failure('lease-lost', `${url}: pack ${pack} vanished while the point was written`, {
      cause,
      hint: HINT_AGAIN,
    });
  }
}

function unfitFailure({ url }: Repository, id: Buffer, pack: string): Failure {
  const blob = `blob ${id.toString('hex')} of this draft lies in pack ${pack} only`;
  return new Failure('checksum', `${url}: ${blob}, which is damaged or about to be deleted`, {
    hint: 'run lifeboat verify --all, which notes all damage, then the backup again: it writes what is damaged anew',
  });
}

export async function draftReceipts(ctx: Context, repository: Repository, id: string): Promise<Receipt[]> {
  const receipts: Receipt[] = [];
  for await (const { key } of repository.vault.bucket.list(ctx, `${DRAFTS}${id}/parts/`)) {
    receipts.push(shaped(receiptSchema, await getOwn(ctx, repository.vault, key), key));
  }
  return receipts;
}

/** What is left of drafts, with the time of its newest object by the bucket's clock. */
export async function* unfinishedDrafts(
  ctx: Context,
  repository: Repository,
): AsyncIterable<{ id: string; touchedAt: Date }> {
  for await (const folder of repository.vault.bucket.folders(ctx, DRAFTS)) {
    let touchedAt = new Date(0);
    for await (const { modifiedAt } of repository.vault.bucket.list(ctx, DRAFTS + folder)) {
      if (modifiedAt > touchedAt) touchedAt = modifiedAt;
    }
    yield { id: folder.slice(0, -1), touchedAt };
  }
}

/** The draft itself goes last: receipts without it could not be found again. */
export async function removeDraft(ctx: Context, { vault }: Repository, id: string): Promise<void> {
  const keys = await Array.fromAsync(vault.bucket.list(ctx, `${DRAFTS}${id}/parts/`), ({ key }) => key);
  for (const key of [...keys, draftKey(id)]) await vault.bucket.delete(ctx, key);
}

function draftKey(id: string): string {
  return `${DRAFTS}${id}/draft.json`;
}
function receiptKey(id: string, component: string): string {
  return `${DRAFTS}${id}/parts/${component}.json`;
}
