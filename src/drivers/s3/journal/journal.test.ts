// Following buckets, and bringing them back as they were at moments of a recorded history.

import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import type { ReplayTarget } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Feed } from '../../../core/journal.ts';
import type { InventoryLine } from '../../../core/model.ts';
import { roundsOf } from '../../../core/moments.ts';
import { liveContext } from '../../../core/testing.ts';
import { chainOf, followTillFull, type Recording, randomOf, recording, stretchesOf } from '../../feed-testing.ts';
import { s3Driver } from '../driver.ts';
import { partOf } from '../entries.ts';
import { drop, makeBucket, put, settingsOf, sharedMinio, wipe } from '../testing.ts';
import { shipperOf } from './shipping.ts';

const skip = await missing('minio');
const ctx = liveContext();
const { server, client } = skip ? ({} as Awaited<ReturnType<typeof sharedMinio>>) : await sharedMinio(ctx);
const at = (more: object): object => settingsOf(server, { follow_every: '100ms', ...more });

const BUCKETS = { buckets: ['docs', { name: 'kept', versions: true }] };
/** Looks are dated two seconds back, and what is done next must not be of the same moment. */
const BETWEEN_MS = 2_300;

interface Moment {
  readonly at: string;
  readonly lines: readonly unknown[];
}

async function moment(record: Recording | null, settings: object): Promise<Moment> {
  const lines = await told(await s3Driver.open(settings).inventory(ctx));
  const now = ctx.now().toISOString();
  if (record) await record.reached(ctx);
  else await ctx.sleep(BETWEEN_MS);
  return { at: now, lines };
}

async function told(inventory: { lines(c: typeof ctx): AsyncIterable<InventoryLine> }): Promise<unknown[]> {
  const all = await Array.fromAsync(inventory.lines(ctx));
  return all.flatMap(({ kind, name, count, digest }) =>
    kind === 'object' || kind === 'version' ? [[name, count, digest]] : [],
  );
}

async function assertBack(
  record: Recording,
  settings: object,
  expected: Moment,
  { target = { kind: 'time', at: expected.at }, point }: { target?: ReplayTarget; point?: string | undefined } = {},
): Promise<void> {
  const component = s3Driver.open(settings);
  const rename = { docs: 'docs-back', kept: 'kept-back' };
  const result = await component.restore(ctx, await chainOf(ctx, record, target, point), { rename });
  assert.deepEqual(result.missing, []);
  const lines = await told((await result.inventory?.(ctx)) ?? assert.fail());
  await result.settle?.(ctx);
  await wipe(ctx, client, ['docs-back', 'kept-back']);
  assert.deepEqual(lines, expected.lines, JSON.stringify(target));
}

test('buckets come back as they were at any moment, with what was changed and deleted since', { skip }, async () => {
  await wipe(ctx, client);
  await makeBucket(ctx, client, 'docs');
  await makeBucket(ctx, client, 'kept', { versions: true });
  await put(ctx, client, 'docs', [{ key: 'a' }, { key: 'b' }, { key: 'gone' }, { key: 'z/z' }]);
  await put(ctx, client, 'kept', [{ key: 'v', body: 'one' }, { key: 'w' }]);
  await using record = await recording(ctx);
  const settings = at(BUCKETS);
  const component = s3Driver.open(settings);
  const moments: Moment[] = [];
  const noted = async (): Promise<void> => void moments.push(await moment(record, settings));
  const large = randomBytes(21 * 1024 * 1024);
  await record.follow(ctx, component, async () => {
    await record.reached(ctx);
    await noted();
    await put(ctx, client, 'docs', [{ key: 'a', body: 'other' }, { key: 'aa' }, { key: 'zz', body: large }]);
    await put(ctx, client, 'kept', [{ key: 'v', body: 'two' }]);
    await noted();
    await drop(ctx, client, 'docs', 'gone');
    await drop(ctx, client, 'kept', 'v');
    await put(ctx, client, 'docs', [{ key: 'b', body: 'b', headers: { 'x-amz-meta-owner': 'ann' } }]);
    await noted();
  });
  // While nobody follows.
  await drop(ctx, client, 'docs', 'a');
  await put(ctx, client, 'docs', [{ key: 'gone', body: 'back' }]);
  await put(ctx, client, 'kept', [{ key: 'v', body: 'three' }]);
  await record.follow(ctx, component, async () => {
    await ctx.sleep(BETWEEN_MS);
    await noted();
    await record.base(ctx, component);
    await put(ctx, client, 'docs', [{ key: 'last' }]);
    await drop(ctx, client, 'docs', 'z/z');
    await noted();
  });
  assert.deepEqual(await stretchesOf(ctx, record), ['1: ranges']);
  const [first, second] = record.points.map(({ point }) => point);
  for (const each of moments) await assertBack(record, settings, each, { point: first });
  const [oldest, newest] = [moments[0] ?? assert.fail(), moments.at(-1) ?? assert.fail()];
  await assertBack(record, settings, newest, { point: second });
  await assertBack(record, settings, newest, { target: { kind: 'latest' }, point: first });
  await assertBack(record, settings, oldest, { target: { kind: 'immediate' }, point: first });
});

test('what is changed is there once, wherever following is killed, the store fails or the server is away', {
  skip,
}, async (t) => {
  await wipe(ctx, client);
  await makeBucket(ctx, client, 'docs');
  await makeBucket(ctx, client, 'kept', { versions: true });
  await put(ctx, client, 'docs', [{ key: 'a' }, { key: 'b' }]);
  await using record = await recording(ctx);
  const settings = at(BUCKETS);
  const component = s3Driver.open(settings);
  await record.follow(ctx, component, () => record.reached(ctx));
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  const random = randomOf(seed);
  for (let kill = 0; kill < 5; kill++) {
    const work = async (): Promise<void> => {
      for (let n = 0; n < 4; n++) {
        const key = `k${Math.floor(random() * 6)}`;
        if (random() < 0.3) await drop(ctx, client, 'docs', key);
        else await put(ctx, client, 'docs', [{ key, body: `${key} ${kill} ${n}` }]);
        await put(ctx, client, 'kept', [{ key: 'v', body: `${kill} ${n}` }]);
        await ctx.sleep(random() * 150);
      }
      if (kill === 2) {
        await server.kill();
        await server.start();
      }
    };
    await followTillFull(ctx, record, component, { random, piecesMax: 4, work });
  }
  await ctx.sleep(BETWEEN_MS);
  await record.follow(ctx, component, () => record.reached(ctx));
  await assertBack(record, settings, await moment(null, settings), { target: { kind: 'latest' } });
  assert.deepEqual(await stretchesOf(ctx, record), ['1: ranges']);
  const chain = await chainOf(ctx, record, { kind: 'latest' });
  await assert.rejects(component.restore(ctx, chain, { delta: true }), { code: 'usage' });
  const expected = await moment(null, settings);
  await put(ctx, client, 'docs', [{ key: 'more' }]);
  await drop(ctx, client, 'docs', 'a');
  const back = await component.restore(ctx, chain, { replace: true });
  assert.deepEqual(back.missing, []);
  assert.deepEqual((await moment(null, settings)).lines, expected.lines);
});

test('fault 44: of a large object that was changed while it was read only what was read at last comes back', {
  skip,
}, async () => {
  await wipe(ctx, client);
  await makeBucket(ctx, client, 'docs');
  await put(ctx, client, 'docs', [{ key: 'a' }]);
  await using record = await recording(ctx);
  const settings = at({ buckets: ['docs'] });
  await record.follow(ctx, s3Driver.open(settings), () => record.reached(ctx));
  const [old, body] = [randomBytes(4 * 1024 * 1024), randomBytes(9 * 1024 * 1024)];
  async function* changed(): AsyncIterable<Uint8Array> {
    yield old;
    yield old;
    throw new Failure('different', 'docs/large is another one by now');
  }
  async function* pieces(): AsyncIterable<Uint8Array> {
    for (let from = 0; from < body.length; from += old.length) yield body.subarray(from, from + old.length);
  }
  const large = { bucket: 'docs', key: 'large', version: null };
  const follow = async (_ctx: unknown, feed: Feed): Promise<void> => {
    const toMs = ctx.now().getTime();
    const shipper = shipperOf(roundsOf(feed), { toMs, looked: toMs });
    await assert.rejects(shipper.sink.put(ctx, partOf(large), changed()), { code: 'different' });
    await shipper.sink.put(ctx, partOf(large), pieces());
    const modified = new Date(toMs - 1000).toISOString();
    const about = { latest: true, etag: 'e', headers: {}, sha256: hash('sha256', body, 'hex') };
    await shipper.entries(ctx, [{ ...large, ...about, modified, bytes: body.length }]);
    await shipper.end(ctx, undefined);
  };
  await record.follow(ctx, { ...s3Driver.open(settings), follow }, () => ctx.sleep(500));
  const chain = await chainOf(ctx, record, { kind: 'latest' });
  await s3Driver.open(settings).restore(ctx, chain, { rename: { docs: 'docs-back' } });
  const { chunks } = await client.send(ctx, 'reading it', {
    ...{ method: 'GET', bucket: 'docs-back', key: 'large', bytesMax: 2 ** 26 },
  });
  await wipe(ctx, client, ['docs-back']);
  assert.ok(Buffer.concat(chunks).equals(body));
});
