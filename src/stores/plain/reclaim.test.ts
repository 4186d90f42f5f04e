// What `reclaim` and `remove` may delete, whoever else is at work and whatever the bucket's notes say.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { faultyBucket } from '../../buckets/faulty.ts';
import { bytesOf } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context, Receipt } from '../../core/model.ts';
import type { Bucket, Draft, Store } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';
import { fill, ID, keys, LATER, type Layout, opened, PLAN, planOf, pointOf, save, text, watching } from './testing.ts';

const DAY_MS = 24 * 3_600_000;
const LONG_AGO = new Date(0);
const LAYOUTS: readonly Layout[] = ['dated', 'by-component'];

test('a draft that is taken up again after days is not cleared away under its new owner', async () => {
  for (const layout of LAYOUTS) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    const { receipts } = await halfDone(ctx, store);
    ctx.advance(3 * DAY_MS);
    const draft = await store.resume(ctx, ID);
    // Fault 17: also when the listing still shows how old everything was.
    const stale = faultyBucket(bucket, {
      listing: (found) => found.map((each) => ({ ...each, modifiedAt: LONG_AGO })),
    });
    for (const seen of [bucket, stale]) {
      const { objects } = await (await other(ctx, seen, layout)).reclaim(ctx, { apply: true, graceMs: DAY_MS });
      assert.equal(objects, 0);
    }
    receipts.push(await fillRest(ctx, draft));
    await store.commit(ctx, draft, pointOf(ID, PLAN), receipts);
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  }
});

test('whenever an old draft is taken up and committed while it is being cleared away, the point is whole or is none', async () => {
  for (const layout of LAYOUTS) {
    const outcomes = new Set<string>();
    const looks = await looksOf(layout);
    for (let look = 1; look <= looks; look += 1) {
      outcomes.add(await meeting(layout, { resumeAt: look, commitAt: look }));
      outcomes.add(await meeting(layout, { resumeAt: look, commitAt: Number.POSITIVE_INFINITY }));
      outcomes.add(await meeting(layout, { commitAt: look })); // by the process that began it, after a long sleep
    }
    assert.deepEqual([...outcomes].sort(), ['committed', 'refused'], layout);
  }
});

test('a component that was being written while its draft was cleared away makes no point', async () => {
  for (const layout of LAYOUTS) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    const draft = await store.begin(ctx, ID, planOf(PLAN));
    const [first, ...rest] = PLAN.redis?.parts ?? [];
    assert.ok(first);
    const sink = draft.sink('redis');
    await sink.put(ctx, first.name, bytesOf(first.data), first.rendition ? { rendition: first.rendition } : {});
    const { redis } = PLAN;
    assert.ok(redis);
    const whole = await fill(ctx, draft.sink('postgresql'), PLAN.postgresql?.parts ?? []);
    const index = `0-lifeboat/index/${ID}/postgresql.ndjson`;
    const list = await text(ctx, bucket, index);
    ctx.advance(3 * DAY_MS);
    await (await other(ctx, bucket, layout)).reclaim(ctx, { apply: true, graceMs: DAY_MS });
    await assert.rejects(fill(ctx, sink, rest), (error) => isFailure(error, 'lease-lost'));
    await bucket.put(ctx, index, Buffer.from(list)); // as if its receipt had been under way
    const point = pointOf(ID, { postgresql: PLAN.postgresql ?? redis });
    await assert.rejects(store.commit(ctx, draft, point, [whole]), (error) => isFailure(error, 'lease-lost'));
    assert.deepEqual(await Array.fromAsync(store.list(ctx)), []);
  }
});

test('a note that nobody understands keeps nothing else from being cleared away', async () => {
  for (const layout of LAYOUTS) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    const before = await keys(ctx, bucket, '');
    await halfDone(ctx, store);
    const [announced] = await keys(ctx, bucket, `0-lifeboat/drafts/${ID}/files/`);
    const file = JSON.parse(await text(ctx, bucket, announced ?? '')).file;
    await bucket.put(ctx, announced ?? '', Buffer.from(JSON.stringify({ file }))); // whose it was does not matter
    await bucket.put(ctx, `0-lifeboat/drafts/${ID}/files/0.json`, Buffer.from('{"fi'));
    await bucket.put(ctx, `0-lifeboat/pending-delete/${LATER}.json`, Buffer.from(''));
    ctx.advance(3 * DAY_MS);
    await store.reclaim(ctx, { apply: true, graceMs: DAY_MS });
    assert.deepEqual(await keys(ctx, bucket, ''), before);
    assert.ok(ctx.logged.some(({ level, message }) => level === 'warn' && /can not be understood/.test(message)));
  }
});

test('a note that names files of others clears none of them away', async () => {
  for (const layout of LAYOUTS) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    await save(ctx, store, ID, PLAN);
    for (const key of ['notes', 'postgres/postgres_x_20240221_020000.sql.gz', '2024-02-21-020000/redis.rdb']) {
      await bucket.put(ctx, key, Buffer.from('theirs'));
    }
    const before = await keys(ctx, bucket, '');
    const planted = [...before, '../outside', `${LATER}/../notes`, 'a//b', '/etc/passwd'];
    for (const [at, file] of planted.entries()) {
      const note = Buffer.from(JSON.stringify({ file, component: 'redis' }));
      await bucket.put(ctx, `0-lifeboat/drafts/${LATER}/files/${at}.json`, note);
    }
    for (const imported of [false, true]) {
      const note = Buffer.from(JSON.stringify({ files: planted, imported }));
      await bucket.put(ctx, `0-lifeboat/pending-delete/2030-01-0${imported ? 1 : 2}-020000.json`, note);
    }
    ctx.advance(DAY_MS);
    await store.reclaim(ctx, { apply: true, graceMs: 1000 });
    assert.deepEqual(await keys(ctx, bucket, ''), before);
    assert.equal(ctx.logged.filter(({ message }) => /left alone/.test(message)).length > planted.length, true);
  }
});

test('a manifest that names files of others takes none of them with it', async () => {
  for (const layout of LAYOUTS) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    await save(ctx, store, ID, PLAN);
    const before = await keys(ctx, bucket, '');
    await save(ctx, store, LATER, PLAN);
    const manifest = layout === 'dated' ? `${LATER}/manifest.json` : `0-lifeboat/manifests/${LATER}.json`;
    const digest =
      layout === 'dated' ? `0-lifeboat/index/${LATER}/manifest.sha256` : manifest.replace('json', 'sha256');
    const json = JSON.parse(await text(ctx, bucket, manifest));
    const prefix = layout === 'dated' ? '../' : '';
    json.components.redis.files.push(...before.map((key) => ({ file: `${prefix}${key}`, size: 1 })));
    const forged = Buffer.from(JSON.stringify(json));
    await bucket.put(ctx, manifest, forged);
    await bucket.put(ctx, digest, Buffer.from(createHash('sha256').update(forged).digest('hex')));
    await store.remove(ctx, [LATER]);
    assert.deepEqual(await keys(ctx, bucket, ''), before);
  }
});

/** One component is there, and nothing has happened since. */
async function halfDone(ctx: Context, store: Store): Promise<{ draft: Draft; receipts: Receipt[] }> {
  const draft = await store.begin(ctx, ID, planOf(PLAN));
  return { draft, receipts: [await fill(ctx, draft.sink('postgresql'), PLAN.postgresql?.parts ?? [])] };
}

async function fillRest(ctx: Context, draft: Draft): Promise<Receipt> {
  return await fill(ctx, draft.sink('redis'), PLAN.redis?.parts ?? []);
}

async function other(ctx: Context, bucket: Bucket, layout: Layout): Promise<Store> {
  return await plainFormat.open(ctx, bucket, { stack: 's', layout });
}

/**
 * Before its `resumeAt`-th call of the bucket `reclaim` is overtaken by a process that takes up the draft, and before
 * the `commitAt`-th by the commit. Without `resumeAt`, all was there but the manifest.
 */
async function meeting(
  layout: Layout,
  { resumeAt, commitAt }: { resumeAt?: number; commitAt: number },
): Promise<'committed' | 'refused'> {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, layout);
  const { draft: begun, receipts } = await halfDone(ctx, store);
  let draft: Draft | undefined;
  if (resumeAt === undefined) {
    draft = begun;
    receipts.push(await fillRest(ctx, begun));
  }
  ctx.advance(3 * DAY_MS);
  let refused = false;
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    if (refused) return;
    await work().catch((error: unknown) => {
      if (!isFailure(error, 'missing') && !isFailure(error, 'lease-lost')) throw error;
      refused = true;
    });
  };
  const resume = (): Promise<void> => attempt(async () => void (draft = await store.resume(ctx, ID)));
  const end = (): Promise<void> =>
    attempt(async () => {
      assert.ok(draft);
      if (resumeAt !== undefined) receipts.push(await fillRest(ctx, draft));
      await store.commit(ctx, draft, pointOf(ID, PLAN), receipts);
      draft = undefined;
    });
  const watched = watching(bucket, async (look) => {
    if (look === resumeAt) await resume();
    if (look === commitAt) await end();
  });
  await (await other(ctx, watched, layout)).reclaim(ctx, { apply: true, graceMs: DAY_MS });
  if (draft) await end();
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), [], `${resumeAt}, ${commitAt}`);
  assert.equal((await Array.fromAsync(store.list(ctx))).length, refused ? 0 : 1);
  return refused ? 'refused' : 'committed';
}

/** Calls of the bucket that clearing the draft away takes. */
async function looksOf(layout: Layout): Promise<number> {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, layout);
  await halfDone(ctx, store);
  ctx.advance(3 * DAY_MS);
  let seen = 0;
  const watched = watching(bucket, async (look) => void (seen = look));
  await (await other(ctx, watched, layout)).reclaim(ctx, { apply: true, graceMs: DAY_MS });
  return seen;
}
