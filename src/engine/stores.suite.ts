// What the tests of the use cases over real stores are made of, and what holds for each of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultyBucket } from '../buckets/faulty.ts';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../core/bytes.ts';
import type { Component } from '../core/component.ts';
import type { Driver } from '../core/driver.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { putInventory } from '../core/inventory.ts';
import type { Bytes, Context, Rendition } from '../core/model.ts';
import { renditionsByName } from '../core/renditions.ts';
import type { Bucket, StoreFormat } from '../core/storage.ts';
import { testContext } from '../core/testing.ts';
import { plainFormat } from '../stores/plain/store.ts';
import { createRepository } from '../stores/restic/repository.ts';
import { resticSettings } from '../stores/restic/settings.ts';
import { resticFormat } from '../stores/restic/store.ts';
import { backUp } from './backup.ts';
import type { NamedStore, StackComponent } from './model.ts';
import { listPoints } from './points.ts';
import { prunePoints } from './prune.ts';
import { type KvServer, kv, kvDriver, kvServer } from './testing.ts';
import { verifyPoints } from './verify.ts';

export interface Kind {
  readonly title: string;
  readonly format: StoreFormat;
  readonly settings: unknown;
  /** One change in so many is died at; the rest are for the slow tests. */
  readonly stride: number;
}
/** Guessing the password may be cheap here. */
const cheapRestic: StoreFormat = {
  ...resticFormat,
  create: (ctx, bucket, settings) =>
    createRepository(ctx, bucket, resticSettings.parse(settings), { N: 2, r: 1, p: 1 }),
};
const plainKind = (layout: string): Omit<Kind, 'title'> => ({
  format: plainFormat,
  settings: { stack: 'shop', layout },
  stride: 1,
});
export const DATED: Kind = { title: 'plain, dated', ...plainKind('dated') };
const BY_COMPONENT: Kind = { title: 'plain, by component', ...plainKind('by-component') };
export const RESTIC: Kind = {
  title: 'restic',
  format: cheapRestic,
  settings: { stack: 'shop', password: 'horse' },
  stride: 11,
};
export const KINDS: readonly Kind[] = [DATED, BY_COMPONENT, RESTIC];

export async function made(ctx: Context, kind: Kind, bucket: Bucket = memoryBucket()): Promise<Bucket> {
  await kind.format.create(ctx, bucket, kind.settings);
  return bucket;
}
export async function opened(
  ctx: Context,
  kind: Kind,
  bucket: Bucket,
  name = 'a',
): Promise<NamedStore & AsyncDisposable> {
  const store = await kind.format.open(ctx, bucket, kind.settings);
  return { name, store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

/** As PostgreSQL's: one dump, which a plain store keeps as text. */
const RENDITION: Rendition = {
  name: 'dump.txt',
  word: 'kv',
  item: null,
  alone: true,
  suffix: '.txt',
  gzip: true,
  async *transform(_ctx, body): Bytes {
    const entries = Object.entries(JSON.parse((await readAll(body)).toString()) as Record<string, string>);
    yield Buffer.from(entries.map(([key, value]) => `${key}=${value}\n`).join(''));
  },
};
const dumpDriver = {
  ...kvDriver,
  kind: 'dump-kv',
  renditions: renditionsByName(() => new Map([['dump.json', RENDITION]])),
  open(settings: unknown): Component {
    const server = settings as KvServer;
    const inner = kvDriver.open(server);
    return {
      ...inner,
      async capture(ctx, sink) {
        const data = JSON.stringify(Object.fromEntries(server.data));
        await sink.put(ctx, 'dump.json', bytesOf(data), { rendition: RENDITION });
        const lines = await Array.fromAsync((await inner.inventory(ctx)).lines(ctx));
        await putInventory(ctx, sink, lines);
        const cut = { position: '1', at: '2026-01-01T00:00:00Z' };
        const told = { serverVersion: '1', identity: 'i', inventoryLevel: 'full' as const, totals: {}, warnings: [] };
        return { cut, method: 'dump', ...told };
      },
      async restore(ctx, { base }) {
        if (server.data.size > 0) throw new Failure('target-not-empty', 'the server holds data');
        const names = await Array.fromAsync(base.parts(ctx, 'dump.'), ({ name }) => name);
        const text = (await readAll(base.get(ctx, names[0] ?? ''))).toString();
        const entries = names[0] === 'dump.json' ? Object.entries(JSON.parse(text)) : pairsOf(text);
        for (const [key, value] of entries) server.data.set(key, String(value));
        return { bytes: text.length, method: names[0] ?? '', warnings: [] };
      },
    };
  },
} satisfies Driver;

function pairsOf(text: string): [string, string][] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
}

export function stack(): { components: StackComponent[]; servers: KvServer[] } {
  const [keys, dump] = [kvServer({ a: '1', 'odd/ñame': 'x'.repeat(70_000) }), kvServer({ c: '3', d: '4' })];
  return { components: [kv('keys', keys), kv('dump', dump, { driver: dumpDriver })], servers: [keys, dump] };
}
export const drivers = new Map<string, Driver>([
  ['kv', kvDriver],
  ['dump-kv', dumpDriver],
]);

/** A life of two backups and a prune ends at every `stride`th change that it makes. */
export function diesAnywhere(kind: Kind, stride: number): void {
  const where = stride === 1 ? 'any' : `every ${stride}th`;
  test(`dying at ${where} change leaves only whole points, and the next run is well`, async () => {
    let deaths = 0;
    for (let changesMax = 0; ; changesMax += stride) {
      const ctx = testContext();
      const { components, servers } = stack();
      const disk = await made(ctx, kind);
      const died = await lifeUntil(ctx, kind, faultyBucket(disk, { changesMax }), components, servers);
      await using store = await opened(ctx, kind, disk);
      for (const { point } of await listPoints(ctx, store)) {
        const whole = await verifyPoints(ctx, { in: store, points: [point], readData: 1 });
        assert.equal(whole.findings.verdict, 'pass', `died at ${changesMax}: ${JSON.stringify(whole.findings.kept)}`);
      }
      const next = await backUp(ctx, { stack: 'shop', plan: 'nightly', components, stores: [store] });
      assert.equal(next.complete, true, `after dying at ${changesMax}`);
      const all = await verifyPoints(ctx, { in: store, readData: 1 });
      const wrong = all.findings.kept.filter(({ verdict }) => verdict === 'fail');
      assert.deepEqual(wrong, [], `after dying at ${changesMax}`);
      if (!died) break;
      deaths += 1;
    }
    assert.ok(deaths >= 3, `it died ${deaths} times`);
  });
}

/** Two backups and a prune; false when nothing died on the way. */
async function lifeUntil(
  ctx: Context,
  kind: Kind,
  bucket: Bucket,
  components: readonly StackComponent[],
  servers: readonly KvServer[],
): Promise<boolean> {
  try {
    await using store = await opened(ctx, kind, bucket);
    const request = { stack: 'shop', plan: 'nightly', components, stores: [store] };
    for (const value of ['1', '2']) {
      servers[0]?.data.set('b', value);
      await backUp(ctx, request);
    }
    const rulesOf = () => ({ keep: { last: 1 }, timezone: 'UTC' });
    await prunePoints(ctx, { in: store, stack: 'shop', rulesOf, apply: true, graceMs: 0 });
    return false;
  } catch (error) {
    if (!isFailure(error, 'unreachable')) throw error;
    return true;
  }
}
