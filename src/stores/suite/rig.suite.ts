// What the tests of stores are made of.

import assert from 'node:assert/strict';
import { createCipheriv, hash } from 'node:crypto';
import { test } from 'node:test';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import { putAll } from '../../core/many-parts.ts';
import type { Bytes, Context, Finding, Receipt, Sink, Source, WholePart } from '../../core/model.ts';
import type { CapturedComponent, RecoveryPoint } from '../../core/point.ts';
import type { Bucket, Draft, Store, StoreFormat } from '../../core/storage.ts';
import { captured, type TestContext } from '../../core/testing.ts';

export interface StoreRig {
  readonly name: string;
  readonly format: StoreFormat;
  /** Settings of a store of `stack`. Opening must be cheap: the suite plays some hundred processes. */
  settings(stack: string): unknown;
  /** An empty one for each call; in memory when left out. */
  readonly bucket?: () => Promise<Bucket>;
  /** Title → the reason why this format can't do it. */
  readonly except?: Readonly<Record<string, string>>;
}

/** Component → part → its bytes. */
export type Contents = Readonly<Record<string, Readonly<Record<string, string | Uint8Array>>>>;

export const STACK = 'shop';
export const HOUR_MS = 3_600_000;
export const P1 = '2026-01-01-020000';
export const P2 = '2026-01-02-020000';
export const P3 = '2026-01-03-020000';
export function declare(rig: StoreRig): (title: string, run: () => Promise<void>) => void {
  return (title, run) => void test(title, { skip: rig.except?.[title] ?? false }, run);
}

export async function created(rig: StoreRig, ctx: Context): Promise<{ bucket: Bucket; store: Store }> {
  const bucket = rig.bucket ? await rig.bucket() : memoryBucket();
  await rig.format.create(ctx, bucket, rig.settings(STACK));
  return { bucket, store: await reopened(rig, ctx, bucket) };
}

/** What another process sees. */
export async function reopened(rig: StoreRig, ctx: Context, bucket: Bucket): Promise<Store> {
  return await rig.format.open(ctx, bucket, rig.settings(STACK));
}

/** Null when the store says in its own words that it can't be opened. */
export async function reopenedIfItCan(rig: StoreRig, ctx: Context, bucket: Bucket): Promise<Store | null> {
  try {
    return await reopened(rig, ctx, bucket);
  } catch (error) {
    if (!isFailure(error)) throw error;
    return null;
  }
}

export async function save(
  ctx: Context,
  store: Store,
  id: string,
  contents: Contents,
  filling = fill,
): Promise<RecoveryPoint> {
  await using draft = await store.begin(ctx, id, planOf(contents));
  const receipts: Receipt[] = [];
  for (const [component, parts] of Object.entries(contents)) {
    receipts.push(await filling(ctx, draft.sink(component), parts));
  }
  return await commit(ctx, store, draft, receipts);
}

export async function fill(ctx: Context, sink: Sink, parts: Contents[string]): Promise<Receipt> {
  await Promise.all(Object.entries(parts).map(([name, data]) => sink.put(ctx, name, inPieces(data))));
  return await sink.receipt(ctx);
}

/** All parts at once. */
export async function fillTogether(ctx: Context, sink: Sink, parts: Contents[string]): Promise<Receipt> {
  await putAll(ctx, sink, wholesOf(parts));
  return await sink.receipt(ctx);
}
function wholesOf(parts: Contents[string]): WholePart[] {
  return Object.entries(parts).map(([name, data]) => ({
    name,
    whole: Buffer.from(data),
    sha256: hash('sha256', data),
  }));
}

export async function commit(
  ctx: Context,
  store: Store,
  draft: Draft,
  receipts: readonly Receipt[],
): Promise<RecoveryPoint> {
  const point = pointOf(draft.id, receipts);
  assert.deepEqual(await store.commit(ctx, draft, point, receipts), point);
  await draft[Symbol.asyncDispose]();
  return point;
}

export function planOf(contents: Contents): { stack: string; components: { name: string; kind: string }[] } {
  return { stack: STACK, components: Object.keys(contents).map((name) => ({ name, kind: 'kv' })) };
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
    missed: null,
    components: Object.fromEntries(receipts.map((each) => [each.component, capturedAs(each)])),
  };
}

function capturedAs({ parts: count, bytes }: Receipt): CapturedComponent {
  const cut = { position: '0/1', at: '2026-01-01T02:00:01Z' };
  return captured({ cut, totals: { keys: 3 }, parts: { count, bytes }, durationMs: 5 });
}

export async function assertWhole(ctx: Context, store: Store, id: string, contents: Contents): Promise<void> {
  for (const [component, parts] of Object.entries(contents)) {
    const source: Source = await store.open(ctx, id, component);
    const names = await Array.fromAsync(source.parts(ctx), (part) => part.name);
    assert.deepEqual(names.sort(), Object.keys(parts).sort(), `${id}/${component}`);
    for (const [name, data] of Object.entries(parts)) {
      const read = await readAll(source.get(ctx, name));
      assert.ok(read.equals(Buffer.from(data)), `${id}/${component}/${name} comes back as it was`);
      assert.equal((await source.part(ctx, name)).bytes, data.length);
    }
  }
}

export async function findings(ctx: Context, store: Store, readData = 1, from = 0): Promise<Finding[]> {
  return await Array.fromAsync(store.check(ctx, { readData, from }));
}

/** Both phases: what is found unreferenced, and its going a day later. */
export async function reclaimed(ctx: TestContext, store: Store): Promise<void> {
  await store.reclaim(ctx, { apply: true, graceMs: HOUR_MS });
  ctx.advance(24 * HOUR_MS);
  await store.reclaim(ctx, { apply: true, graceMs: HOUR_MS });
}

export async function ids(ctx: Context, store: Store): Promise<string[]> {
  return await Array.fromAsync(store.list(ctx), (point) => point.id);
}
export async function keys(ctx: Context, bucket: Bucket): Promise<string[]> {
  return await Array.fromAsync(bucket.list(ctx, ''), (object) => object.key);
}
export async function total(ctx: Context, bucket: Bucket): Promise<number> {
  return (await Array.fromAsync(bucket.list(ctx, ''))).reduce((sum, object) => sum + object.bytes, 0);
}

export async function copyOf(ctx: Context, bucket: Bucket): Promise<Bucket> {
  const copy = memoryBucket();
  for (const key of await keys(ctx, bucket)) await copy.put(ctx, key, await readAll(bucket.get(ctx, key)));
  return copy;
}

export async function fails(code: Parameters<typeof isFailure>[1], work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => isFailure(error, code) || assert.fail(`${code} was expected, not ${error}`));
}

/** Bytes that neither compress nor repeat, the same for the same seed. */
export function noise(seed: number, bytes: number): Buffer {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** In chunks of uneven sizes, each overwritten after use: chunks are borrowed. */
export async function* inPieces(data: string | Uint8Array): Bytes {
  const all = Buffer.from(data as string);
  for (let at = 0, size = 1; at < all.length; at += size, size = Math.min(size * 7, 100_000)) {
    const chunk = Buffer.from(all.subarray(at, at + size));
    yield chunk;
    chunk.fill(0);
  }
}
