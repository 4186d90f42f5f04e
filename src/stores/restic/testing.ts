// What several tests of this folder are made of.

import { createCipheriv } from 'node:crypto';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import type { CapturedComponent, Context, Finding, Receipt, RecoveryPoint } from '../../core/model.ts';
import type { Bucket, Draft, Store } from '../../core/storage.ts';
import { createRepository } from './repository.ts';
import { resticSettings } from './settings.ts';
import { openResticStore, type ResticStore } from './store.ts';

export const P1 = '2026-01-01-020000';
export const P2 = '2026-01-02-020000';
export const P3 = '2026-01-03-020000';
export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const GRACE = { apply: true, graceMs: 24 * HOUR_MS };

const STACK = 'shop';
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
  return await openResticStore(ctx, bucket, { stack: STACK, password: PASSWORD, ...settings }, { workers: 1 });
}

export async function save(
  ctx: Context,
  store: Store,
  id: string,
  contents: Readonly<Record<string, Parts>>,
): Promise<RecoveryPoint> {
  await using draft = await begin(ctx, store, id, contents);
  const receipts: Receipt[] = [];
  for (const [component, parts] of Object.entries(contents)) receipts.push(await fill(ctx, draft, component, parts));
  const point = pointOf(id, receipts);
  return await store.commit(ctx, draft, point, receipts);
}
export async function begin(
  ctx: Context,
  store: Store,
  id: string,
  contents: Readonly<Record<string, unknown>>,
): Promise<Draft> {
  const components = Object.keys(contents).map((name) => ({ name, kind: 'kv' }));
  return await store.begin(ctx, id, { stack: STACK, components });
}
export async function fill(ctx: Context, draft: Draft, component: string, parts: Parts): Promise<Receipt> {
  const sink = draft.sink(component);
  for (const [name, data] of Object.entries(parts)) await sink.put(ctx, name, bytesOf(data));
  return await sink.receipt(ctx);
}

export function pointOf(id: string, receipts: readonly Receipt[]): RecoveryPoint {
  return {
    format: 1,
    id,
    stack: STACK,
    plan: 'nightly',
    startedAt: '2026-01-01T02:00:00Z',
    finishedAt: '2026-01-01T02:00:07Z',
    skewMs: 12,
    status: 'complete',
    version: '1.2.3',
    components: Object.fromEntries(receipts.map((each) => [each.component, captured(each)])),
  };
}
function captured({ parts, bytes }: Receipt): CapturedComponent {
  return {
    kind: 'kv',
    error: null,
    serverVersion: '1.0',
    identity: 'me',
    method: 'logical',
    cut: { position: '0/1', at: '2026-01-01T02:00:01Z' },
    inventoryLevel: 'full',
    totals: { keys: 3 },
    parts: { count: parts, bytes },
    durationMs: 5,
    warnings: [],
  };
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

/** Bytes that neither compress nor repeat, the same for the same seed. */
export function noise(seed: number, bytes: number): Buffer {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** A new store in memory. */
export async function made(ctx: Context): Promise<Bucket> {
  const bucket = memoryBucket();
  await createStore(ctx, bucket);
  return bucket;
}
export async function findings(ctx: Context, store: Store, readData = 1): Promise<Finding[]> {
  return await Array.fromAsync(store.check(ctx, { readData }));
}
export async function bytesBelow(ctx: Context, bucket: Bucket, prefix: string): Promise<number> {
  return (await Array.fromAsync(bucket.list(ctx, prefix))).reduce((sum, { bytes }) => sum + bytes, 0);
}
/** The key of the largest object below a prefix. */
export async function largest(ctx: Context, bucket: Bucket, prefix: string): Promise<string> {
  const objects = await Array.fromAsync(bucket.list(ctx, prefix));
  return objects.toSorted((a, b) => b.bytes - a.bytes)[0]?.key ?? '';
}
