// The `restic` store: a restic repository whose snapshots are recovery points. What writes, checks and reclaims is
// loaded when it is used: most commands only look.

import { Failure } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { parseSettings } from '../../core/settings.ts';
import type { Bucket, Store, StoreFormat } from '../../core/storage.ts';
import { storeJournals } from '../journal.ts';
import { repositoryArchive } from './archive.ts';
import { getOwn, isSealed, OWN, openCompressed, putOwn, sealCompressed, type Vault } from './documents.ts';
import type { Drafts } from './drafts.ts';
import { keyRing } from './keys.ts';
import { componentSource, pointIdOf, snapshotSource, storedPoints } from './points.ts';
import { sealedRecords } from './records.ts';
import { createRepository, openRepository, type Repository } from './repository.ts';
import { type ResticSettings, resticSettings } from './settings.ts';
import type { Snapshot } from './snapshots.ts';

export interface ResticStore extends Store {
  /** All snapshots, those of stock restic too, in order of time. */
  snapshots(ctx: Context): Promise<readonly Snapshot[]>;
  /** Every file of a snapshot, whoever wrote it. 'missing' when there is none of this id. */
  openSnapshot(ctx: Context, id: string): Promise<Source>;
}

export const resticFormat = {
  format: 'restic',
  create: (ctx, bucket, settings) => createRepository(ctx, bucket, settingsOf(settings)),
  open: (ctx, bucket, settings) => openResticStore(ctx, bucket, settings),
  isEssential: (key) => !key.startsWith('data/') && !key.startsWith(`${OWN}journal/`),
} satisfies StoreFormat;

export async function openResticStore(ctx: Context, bucket: Bucket, settings: unknown): Promise<ResticStore> {
  return resticStore(await openRepository(ctx, bucket, settingsOf(settings)));
}

function settingsOf(settings: unknown): ResticSettings {
  return parseSettings(resticSettings, settings, 'the restic store');
}

function resticStore(repository: Repository): ResticStore {
  const { vault, snapshots } = repository;
  const archive = repositoryArchive(repository);
  const journals = sealedJournals(vault);
  let loaded: Promise<Drafts> | undefined;
  const drafts = (): Promise<Drafts> =>
    (loaded ??= import('./drafts.ts').then(({ repositoryDrafts }) => repositoryDrafts(repository)));
  return {
    url: repository.url,
    begin: async (ctx, id, plan) => await (await drafts()).begin(ctx, id, plan),
    resume: async (ctx, id) => await (await drafts()).resume(ctx, id),
    receipts: async (ctx, id) => await (await drafts()).receipts(ctx, id),
    commit: async (ctx, draft, point, receipts) => await (await drafts()).commit(ctx, draft, point, receipts),
    async *list(ctx): AsyncIterable<RecoveryPoint> {
      for (const { point } of await storedPoints(ctx, repository)) yield point;
    },
    open: (ctx, point, component) => componentSource(ctx, repository, point, component),
    async remove(ctx, ids) {
      // No lock: whoever reads the point now still finds its packs, as nothing goes before its grace.
      const { readable } = await snapshots.load(ctx);
      for (const snapshot of readable) {
        const id = pointIdOf(snapshot);
        if (id !== null && ids.includes(id)) await snapshots.delete(ctx, snapshot.id);
      }
      return 0;
    },
    async *check(ctx, options) {
      const { checkRepository } = await import('./check.ts');
      yield* checkRepository(ctx, repository, options);
      yield* journals.check(ctx, options);
    },
    async reclaim(ctx, options) {
      const { reclaimRepository } = await import('./reclaim.ts');
      return await reclaimRepository(ctx, repository, options);
    },
    async bytes(ctx) {
      let bytes = 0;
      for await (const object of vault.bucket.list(ctx, '')) bytes += object.bytes;
      return bytes;
    },
    records: sealedRecords(vault),
    journal: journals.journal,
    journals: journals.journals,
    keys: keyRing(vault.bucket, repository.unlocked, repository.locks),
    ...(archive ? { archive } : {}),
    async snapshots(ctx) {
      return (await snapshots.load(ctx)).readable;
    },
    async openSnapshot(ctx, id) {
      const { readable } = await snapshots.load(ctx);
      const snapshot = readable.find((each) => each.id === id);
      if (!snapshot) throw new Failure('missing', `${repository.url} has no snapshot ${id}`);
      await repository.indexes.refresh(ctx);
      return await snapshotSource(ctx, repository, snapshot, id);
    },
    [Symbol.asyncDispose]: () => repository[Symbol.asyncDispose](),
  };
}

/** Each range is sealed as restic seals its index files, by the same keys. */
function sealedJournals(vault: Vault): ReturnType<typeof storeJournals> {
  const { bucket, key } = vault;
  return storeJournals({
    bucket,
    own: OWN,
    seal: (plain) => sealCompressed(key, plain),
    open: (stored, bytesMax) => openCompressed(key, stored, bytesMax),
    holds: (stored, plain) => isSealed(key, stored, plain),
    putDocument: (ctx, name, value, options) => putOwn(ctx, vault, name, value, options),
    getDocument: (ctx, name) => getOwn(ctx, vault, name),
  });
}
