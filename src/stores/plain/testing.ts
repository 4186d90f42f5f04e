// Plain stores filled as the two plans fill them, for tests.

import assert from 'node:assert/strict';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import type { Context, Receipt, Rendition } from '../../core/model.ts';
import type { Bucket, Store } from '../../core/storage.ts';
import { captured } from '../../core/testing.ts';
import { plainFormat } from './store.ts';

export type Layout = 'dated' | 'by-component';
export interface Put {
  readonly name: string;
  readonly data: string;
  readonly rendition?: Rendition;
}
/** Component → its kind and parts. */
export type Stack = Readonly<Record<string, { readonly kind: string; readonly parts: readonly Put[] }>>;

export const ID = '2024-02-23-020000';
export const LATER = '2024-02-24-020000';

export function dump(database: string, alone = true): Put {
  const rendition = { name: `${database}.sql`, word: 'postgres', item: database, alone, suffix: '.sql', gzip: true };
  return { name: `${database}.dump`, data: `-- ${database}\n`, rendition };
}
export function globals(alone = true): Put {
  const form = { name: 'globals.sql', word: 'postgres', item: null, alone, suffix: '-globals.sql', gzip: true };
  return { name: 'globals.sql', data: 'CREATE ROLE app;\n', rendition: form };
}
export const rdb: Put = {
  name: 'dump.rdb',
  data: 'REDIS0011',
  rendition: { name: 'dump.rdb', word: 'redis', item: null, alone: true, suffix: '.rdb', gzip: false },
};
export function lines(day: string): Put {
  const form = {
    name: `lines/${day}.json`,
    word: 'loki',
    item: null,
    alone: true,
    suffix: '.json',
    gzip: true,
  } as const;
  return { name: `lines/${day}.json`, data: `{"day":"${day}"}\n`, rendition: { ...form, joined: true } };
}
export const inventory: Put = { name: 'inventory.ndjson', data: '{}\n' };
export const PLAN: Stack = {
  postgresql: { kind: 'postgresql', parts: [dump('infershield'), globals(), inventory] },
  redis: { kind: 'redis', parts: [rdb, inventory] },
};
const days = ['2024-02-21', '2024-02-22', '2024-02-23'].map(lines);
export const WITH_LOGS: Stack = { ...PLAN, loki: { kind: 'loki', parts: [...days, inventory] } };

export async function opened(ctx: Context, layout: Layout): Promise<{ bucket: Bucket; store: Store }> {
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, { stack: 's', layout });
  return { bucket, store: await plainFormat.open(ctx, bucket, { stack: 's', layout }) };
}

export async function save(ctx: Context, store: Store, id: string, stack: Stack): Promise<void> {
  await using draft = await store.begin(ctx, id, planOf(stack));
  const receipts: Receipt[] = [];
  for (const [name, { parts }] of Object.entries(stack)) receipts.push(await fill(ctx, draft.sink(name), parts));
  await store.commit(ctx, draft, pointOf(id, stack), receipts);
}

export async function fill(
  ctx: Context,
  sink: ReturnType<Awaited<ReturnType<Store['begin']>>['sink']>,
  parts: readonly Put[],
): Promise<Receipt> {
  for (const { name, data, rendition } of parts)
    await sink.put(ctx, name, bytesOf(data), rendition ? { rendition } : {});
  return await sink.receipt(ctx);
}

export function planOf(stack: Stack): { stack: string; components: { name: string; kind: string }[] } {
  return { stack: 's', components: Object.entries(stack).map(([name, { kind }]) => ({ name, kind })) };
}

export function pointOf(id: string, stack: Stack): Parameters<Store['commit']>[2] {
  const components = Object.entries(stack).map(([name, { kind }]) => [name, captured({ kind })] as const);
  return {
    format: 1,
    id,
    stack: 's',
    plan: null,
    startedAt: '2024-02-23T02:00:00Z',
    finishedAt: '2024-02-23T02:00:09Z',
    skewMs: 0,
    status: 'complete',
    version: '0.4.0',
    missed: null,
    components: Object.fromEntries(components),
  };
}

export function rendered(put: Put): Rendition {
  assert.ok(put.rendition);
  return put.rendition;
}

export async function keys(ctx: Context, bucket: Bucket, prefix: string): Promise<string[]> {
  return await Array.fromAsync(bucket.list(ctx, prefix), ({ key }) => key);
}
export async function text(ctx: Context, bucket: Bucket, key: string): Promise<string> {
  return (await readAll(bucket.get(ctx, key))).toString('utf8');
}

/** Calls `before` ahead of each call of the bucket, counted from 1. */
export function watching(bucket: Bucket, before: (look: number) => Promise<void>): Bucket {
  let looks = 0;
  const next = (): Promise<void> => before(++looks);
  const { putAll } = bucket;
  return {
    ...bucket,
    async put(...args) {
      await next();
      return await bucket.put(...args);
    },
    ...(putAll && {
      async putAll(...args) {
        await next();
        await putAll(...args);
      },
    }),
    async *get(...args) {
      await next();
      yield* bucket.get(...args);
    },
    async head(...args) {
      await next();
      return await bucket.head(...args);
    },
    async *list(...args) {
      await next();
      yield* bucket.list(...args);
    },
    async *folders(...args) {
      await next();
      yield* bucket.folders(...args);
    },
    async *files(...args) {
      await next();
      yield* bucket.files(...args);
    },
    async delete(...args) {
      await next();
      await bucket.delete(...args);
    },
    async deleteAll(...args) {
      await next();
      return await bucket.deleteAll(...args);
    },
  };
}
