import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';
import {
  fill,
  ID,
  inventory,
  keys,
  LATER,
  lines,
  opened,
  planOf,
  pointOf,
  rendered,
  type Stack,
  save,
} from './testing.ts';

const DAYS = ['2024-02-21', '2024-02-22', '2024-02-23'];
const LOGS: Stack = { loki: { kind: 'loki', parts: [...DAYS.map(lines), inventory] } };
const ALL = DAYS.map((day) => lines(day).data).join('');
const FILE = `${ID}/loki-${ID}.json.gz`;

test('parts that are joined are one file that gunzip reads, and each is read by itself', async () => {
  const ctx = testContext();
  for (const layout of ['dated', 'by-component'] as const) {
    const { bucket, store } = await opened(ctx, layout);
    await save(ctx, store, ID, LOGS);
    const file = layout === 'dated' ? FILE : 'loki/loki_20240223_020000.json.gz';
    assert.equal(gunzipSync(await readAll(bucket.get(ctx, file))).toString(), ALL);
    const source = await store.open(ctx, ID, 'loki');
    for (const day of DAYS) {
      const { name, data } = lines(day);
      assert.equal((await readAll(source.get(ctx, name))).toString(), data);
      assert.equal((await readAll(source.get(ctx, name, { offset: 2, length: 3 }))).toString(), data.slice(2, 5));
    }
    for (const readData of [0, 1]) assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData })), []);
    await store.remove(ctx, [ID]);
    assert.deepEqual(await keys(ctx, bucket, ''), ['0-lifeboat/owner.json']);
  }
});

test('parts that are put at once are joined in the order in which they were put', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await using draft = await store.begin(ctx, ID, planOf(LOGS));
  const sink = draft.sink('loki');
  async function* slowly(text: string): Bytes {
    await ctx.sleep(1);
    yield Buffer.from(text);
  }
  const puts = DAYS.map((day, n) => {
    const { name, data } = lines(day);
    return sink.put(ctx, name, n === 0 ? slowly(data) : bytesOf(data), { rendition: rendered(lines(day)) });
  });
  await Promise.all(puts);
  await store.commit(ctx, draft, pointOf(ID, LOGS), [await sink.receipt(ctx)]);
  assert.equal(gunzipSync(await readAll(bucket.get(ctx, FILE))).toString(), ALL);
});

test('a part that was kept is joined again with new ones', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await save(ctx, store, ID, LOGS);
  const before = await store.open(ctx, ID, 'loki');
  await using draft = await store.begin(ctx, LATER, planOf(LOGS));
  const sink = draft.sink('loki');
  const [first = '', ...others] = DAYS;
  await sink.put(ctx, lines(first).name, bytesOf('new\n'), { rendition: rendered(lines(first)) });
  for (const day of others) {
    const { name } = lines(day);
    await sink.keep(ctx, name, await before.part(ctx, name), { rendition: rendered(lines(day)) });
  }
  await store.commit(ctx, draft, pointOf(LATER, LOGS), [await sink.receipt(ctx)]);
  const joined = gunzipSync(await readAll(bucket.get(ctx, `${LATER}/loki-${LATER}.json.gz`))).toString();
  assert.equal(joined, `new\n${others.map((day) => lines(day).data).join('')}`);
  const source = await store.open(ctx, LATER, 'loki');
  assert.equal((await readAll(source.get(ctx, 'lines/2024-02-23.json'))).toString(), lines('2024-02-23').data);
});

test('a joined file one of whose parts broke never comes to be, and another try begins anew', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await using draft = await store.begin(ctx, ID, planOf(LOGS));
  const reason = new Failure('unreachable', 'it died');
  async function* breaking(): Bytes {
    yield Buffer.from('half');
    throw reason;
  }
  const [first = '', second = '', third = ''] = DAYS;
  const put = (sink: ReturnType<typeof draft.sink>, day: string, body: Bytes) =>
    sink.put(ctx, lines(day).name, body, { rendition: rendered(lines(day)) });
  const broken = draft.sink('loki');
  await put(broken, first, bytesOf('first'));
  await assert.rejects(put(broken, second, breaking()), (error) => error === reason);
  await assert.rejects(put(broken, third, bytesOf('third')), (error) => error === reason);
  assert.ok(!(await keys(ctx, bucket, '')).includes(FILE));
  const left = draft.sink('loki');
  await put(left, first, bytesOf('left behind'));
  const receipt = await fill(ctx, draft.sink('loki'), LOGS.loki?.parts ?? []);
  await assert.rejects(put(left, second, bytesOf('too late')));
  await store.commit(ctx, draft, pointOf(ID, LOGS), [receipt]);
  assert.equal(gunzipSync(await readAll(bucket.get(ctx, FILE))).toString(), ALL);
});

test('damage to a joined file names the parts that it reaches', async () => {
  const ctx = testContext();
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, { stack: 's', layout: 'dated' });
  await using store = await plainFormat.open(ctx, bucket, { stack: 's', layout: 'dated' });
  await save(ctx, store, ID, LOGS);
  const whole = await readAll(bucket.get(ctx, FILE));
  const failed = async (data: Buffer, readData: number): Promise<string[]> => {
    await bucket.put(ctx, FILE, data);
    const findings = await Array.fromAsync(store.check(ctx, { readData }));
    assert.ok(findings.every(({ verdict }) => verdict === 'fail'));
    return findings.map(({ check }) => check.split('/').at(-1) ?? '');
  };
  const flipped = Buffer.from(whole);
  flipped[whole.length >> 1] = (flipped[whole.length >> 1] ?? 0) ^ 1;
  assert.deepEqual(await failed(flipped, 1), ['2024-02-22.json is whole']);
  const all = DAYS.map((day) => `${day}.json is whole`);
  for (const readData of [0, 1]) assert.deepEqual(await failed(whole.subarray(0, -1), readData), all);
  for (const readData of [0, 1]) {
    assert.deepEqual(await failed(Buffer.concat([whole, Buffer.from('more')]), readData), all);
  }
});
