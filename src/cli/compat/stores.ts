// The old scripts had no `init`: their folders become stores when they are first used.

import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Adopted } from '../../core/storage.ts';
import { importFolders } from '../../engine/import.ts';
import type { Config, StoreConfig } from '../config/model.ts';
import { openBucket, openStack } from '../stack.ts';

/** For a backup: a place without a store gets one. */
export async function createMissing(ctx: Context, config: Config): Promise<void> {
  for (const store of config.stores) await createIn(ctx, store);
}

/** For reading: only where backups lie already; a mistyped place stays empty. */
export async function createWhereBackupsAre(ctx: Context, config: Config): Promise<void> {
  for (const store of config.stores) if (await holdsFolders(ctx, store)) await createIn(ctx, store);
}

async function holdsFolders(ctx: Context, store: StoreConfig): Promise<boolean> {
  const bucket = await openBucket(ctx, store);
  try {
    for await (const folder of bucket.folders(ctx, '')) return folder !== '';
    return false;
  } catch (error) {
    if (!isFailure(error)) throw error;
    ctx.log.warn('store can not be read', { store: store.name, reason: messageOf(error) });
    return false; // another store may hold what is needed; if none does, opening them says why
  } finally {
    await bucket.close();
  }
}

async function createIn(ctx: Context, store: StoreConfig): Promise<void> {
  const bucket = await openBucket(ctx, store);
  try {
    const { format: settings } = await store.settings(ctx);
    await (await store.format()).create(ctx, bucket, settings);
    ctx.log.info('store created', { store: store.name, url: store.url });
  } catch (error) {
    if (!isFailure(error, 'exists')) throw error;
  } finally {
    await bucket.close();
  }
}

export interface ImportWish {
  readonly timeZone: string;
  readonly plan: string;
  /** Stop when each of these components has a point; everything is read otherwise. */
  readonly until?: readonly string[] | undefined;
  readonly id?: string | undefined;
}

/** Makes points of old files in every store. Says which files can't be used. */
export async function importInto(ctx: Context, config: Config, wish: ImportWish): Promise<readonly Adopted[]> {
  await using stack = await openStack(ctx, config, {});
  const adopted: Adopted[] = [];
  for (const store of stack.stores) {
    const place = config.stores.find(({ name }) => name === store.name);
    const until = wish.until && place && (await possibleIn(ctx, place, wish.until));
    const after = until && (await newestWithAll(ctx, store.store, until));
    const wanted = new Set(until);
    const request = {
      stack: config.stack,
      store,
      components: stack.components,
      timeZone: wish.timeZone,
      plan: wish.plan,
      id: wish.id,
      after,
      newestFirst: until !== undefined,
    };
    for await (const each of importFolders(ctx, request)) {
      adopted.push(each);
      for (const name of Object.keys(each.point?.components ?? {})) wanted.delete(name);
      if (until && wanted.size === 0) break;
    }
  }
  return adopted;
}

/**
 * Where there is a folder for each service, what has none is not waited for: every old backup of the others would be
 * read in vain.
 */
async function possibleIn(ctx: Context, store: StoreConfig, components: readonly string[]): Promise<readonly string[]> {
  const bucket = await openBucket(ctx, store);
  try {
    const folders = await Array.fromAsync(bucket.folders(ctx, ''));
    const possible = components.filter((name) => folders.includes(`${name}/`));
    return possible.length > 0 ? possible : components;
  } finally {
    await bucket.close();
  }
}

/** The oldest of the newest points of each component: files from before it are not needed. */
async function newestWithAll(
  ctx: Context,
  store: { list(ctx: Context): AsyncIterable<{ id: string; components: Readonly<Record<string, unknown>> }> },
  components: readonly string[],
): Promise<string | undefined> {
  const newest = new Map<string, string>();
  for await (const { id, components: held } of store.list(ctx)) {
    for (const name of Object.keys(held)) newest.set(name, id);
  }
  const ids = components.map((name) => newest.get(name));
  return ids.includes(undefined) ? undefined : ids.sort()[0];
}
