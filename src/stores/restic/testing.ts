// What several tests of this folder are made of.

import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import type { Context, Receipt } from '../../core/model.ts';
import type { Bucket, Draft, Store } from '../../core/storage.ts';
import { HOUR_MS, planOf, STACK } from '../suite/rig.suite.ts';
import { createRepository } from './repository.ts';
import { resticSettings } from './settings.ts';
import { openResticStore, type ResticStore } from './store.ts';

export const MINUTE_MS = 60_000;
export const GRACE = { apply: true, graceMs: 24 * HOUR_MS };

export const PASSWORD = 'horse';
/** Guessing a password may be cheap here. */
export const CHEAP_SCRYPT = { N: 2, r: 1, p: 1 };

export type Parts = Readonly<Record<string, string | Buffer>>;

export async function createStore(ctx: Context, bucket: Bucket, stack = STACK): Promise<void> {
  await createRepository(ctx, bucket, resticSettings.parse({ stack, password: PASSWORD }), CHEAP_SCRYPT);
}
export async function openStore(
  ctx: Context,
  bucket: Bucket,
  settings: { stack?: string; password?: string } = {},
): Promise<ResticStore> {
  return await openResticStore(ctx, bucket, { stack: STACK, password: PASSWORD, ...settings });
}

export async function begin(
  ctx: Context,
  store: Store,
  id: string,
  contents: Parameters<typeof planOf>[0],
): Promise<Draft> {
  return await store.begin(ctx, id, planOf(contents));
}
export async function fill(ctx: Context, draft: Draft, component: string, parts: Parts): Promise<Receipt> {
  const sink = draft.sink(component);
  for (const [name, data] of Object.entries(parts)) await sink.put(ctx, name, bytesOf(data));
  return await sink.receipt(ctx);
}

/** Every part of a component. */
export async function readParts(
  ctx: Context,
  store: Store,
  point: string,
  component: string,
): Promise<Record<string, Buffer>> {
  const source = await store.open(ctx, point, component);
  const parts: Record<string, Buffer> = {};
  for await (const { name } of source.parts(ctx)) parts[name] = await readAll(source.get(ctx, name));
  return parts;
}

export async function keysOf(ctx: Context, bucket: Bucket, prefix = ''): Promise<string[]> {
  return await Array.fromAsync(bucket.list(ctx, prefix), ({ key }) => key);
}

/** A new store in memory. */
export async function made(ctx: Context): Promise<Bucket> {
  const bucket = memoryBucket();
  await createStore(ctx, bucket);
  return bucket;
}
export async function bytesBelow(ctx: Context, bucket: Bucket, prefix: string): Promise<number> {
  return (await Array.fromAsync(bucket.list(ctx, prefix))).reduce((sum, { bytes }) => sum + bytes, 0);
}
/** The key of the largest object below a prefix. */
export async function largest(ctx: Context, bucket: Bucket, prefix: string): Promise<string> {
  const objects = await Array.fromAsync(bucket.list(ctx, prefix));
  return objects.toSorted((a, b) => b.bytes - a.bytes)[0]?.key ?? '';
}

/** Changes an object behind the store's back. */
export async function rewrite(
  ctx: Context,
  bucket: Bucket,
  key: string,
  change: (data: Buffer) => Buffer,
): Promise<void> {
  await bucket.put(ctx, key, change(await readAll(bucket.get(ctx, key))));
}
