import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import type { Adopted, AdoptOptions, Bucket, Store } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { zonedClock } from './adopt.ts';
import { plainFormat } from './store.ts';
import { watching } from './testing.ts';

type Layout = 'dated' | 'by-component';

const FOLDER = '2024-02-23-020000';
const DATED = {
  [`${FOLDER}/postgres-${FOLDER}.sql.gz`]: gzipSync('CREATE TABLE t ();\n'),
  [`${FOLDER}/redis-${FOLDER}.rdb`]: Buffer.from('REDIS0011'),
  [`${FOLDER}/loki-${FOLDER}.json.gz`]: gzipSync('{}'),
};
const BY_COMPONENT = {
  'postgres/postgres_soriano_core_20260128_120000.sql.gz': gzipSync('-- core\n'),
  'postgres/postgres_soriano_core_20260728_120000.sql.gz': gzipSync('-- summer\n'),
  'redis/redis_20260128_120000.rdb': Buffer.from('REDIS0011'),
  'minio/deep/redis_20250101_000000.rdb': Buffer.from('an object'),
  'postgres/notes.txt': Buffer.from('hello'),
};
const COMPONENTS: AdoptOptions['components'] = [
  { name: 'db', kind: 'postgresql', recognise: by(/^postgres[-_](?:(\w+)_)?([-\d]{17}|\d{8}_\d{6})\.sql\.gz$/, 'sql') },
  { name: 'cache', kind: 'redis', recognise: by(/^(redis)[-_]([-\d]{17}|\d{8}_\d{6})\.rdb$/, 'rdb') },
];

function by(pattern: RegExp, end: string): (name: string) => { part: string; stamp: string | null } | null {
  return (name) => {
    const [whole, item = 'database', stamp = null] = pattern.exec(name) ?? [];
    return whole === undefined ? null : { part: `${item}.${end}`, stamp };
  };
}

test('a folder of the old scripts becomes a recovery point, and its files stay as they are', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated', DATED);
  const before = await contents(ctx, bucket);
  const [adopted, ...more] = await adoptAll(ctx, store);
  assert.deepEqual([adopted?.id, adopted?.findings, more], [FOLDER, [], []]);
  assert.deepEqual(await Array.fromAsync(store.list(ctx)), [adopted?.point]);
  const db = await store.open(ctx, FOLDER, 'db');
  assert.equal((await readAll(db.get(ctx, 'database.sql'))).toString(), 'CREATE TABLE t ();\n');
  const cache = await store.open(ctx, FOLDER, 'cache');
  assert.equal((await readAll(cache.get(ctx, 'redis.rdb'))).toString(), 'REDIS0011');
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  const after = (await contents(ctx, bucket)).filter(([key]) => !key.startsWith('0-lifeboat/'));
  assert.deepEqual(after, before);
});

test('a folder whose name is no moment is left alone', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'dated', { '2024-99-99-999999/redis-2024-02-23-020000.rdb': Buffer.from('x') });
  assert.deepEqual(await adoptAll(ctx, store), []);
});

test('folders are imported once', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'dated', DATED);
  assert.equal((await adoptAll(ctx, store)).length, 1);
  assert.deepEqual(await adoptAll(ctx, store), []);
});

test('only the point that is asked for is read', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'by-component', BY_COMPONENT);
  const found = await adoptAll(ctx, store, { id: '2026-01-28-120000' });
  assert.deepEqual(
    found.map(({ id }) => id),
    ['2026-01-28-120000'],
  );
});

test('whoever needs the newest point reads that one only', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'by-component', BY_COMPONENT);
  assert.ok(store.adopt);
  const all = { stack: 's', components: COMPONENTS, timeZone: 'UTC', plan: 'daily', newestFirst: true };
  for await (const { id, point } of store.adopt(ctx, all)) {
    assert.deepEqual([id, point?.plan], ['2026-07-28-120000', 'daily']);
    break;
  }
  assert.deepEqual(await Array.fromAsync(store.list(ctx), ({ id }) => id), ['2026-07-28-120000']);
  assert.deepEqual(await adoptAll(ctx, store, { after: '2026-07-28-120000' }), []);
});

test('the stamps of dated names are read in the time zone they were written in', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component', BY_COMPONENT);
  const found = await adoptAll(ctx, store, { timeZone: 'Europe/Madrid' });
  assert.deepEqual(
    found.map(({ id, files }) => [id, files.length]),
    [
      ['2026-01-28-110000', 2],
      ['2026-07-28-100000', 1],
    ],
  );
  const source = await store.open(ctx, '2026-01-28-110000', 'db');
  assert.equal((await readAll(source.get(ctx, 'soriano_core.sql'))).toString(), '-- core\n');
  const [first] = found;
  await store.remove(ctx, ['2026-01-28-110000']);
  const left = (await contents(ctx, bucket)).map(([key]) => key).filter((key) => !key.startsWith('0-lifeboat/'));
  assert.deepEqual(
    left,
    Object.keys(BY_COMPONENT)
      .filter((key) => !first?.files.includes(key))
      .sort(),
  );
});

test('a file is of one point, in whatever time zone it is imported again', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component', BY_COMPONENT);
  const [first] = await adoptAll(ctx, store);
  assert.deepEqual(await adoptAll(ctx, store, { timeZone: 'Europe/Madrid' }), []);
  assert.equal(first?.id, '2026-01-28-120000');
  const late = 'redis/redis_20260128_130000.rdb'; // 12:00 in London's winter, 13:00 in Madrid's: that id is taken
  await bucket.put(ctx, late, Buffer.from('REDIS0012'));
  const [second] = await adoptAll(ctx, store, { timeZone: 'Asia/Tokyo' });
  assert.deepEqual([second?.id, second?.files], ['2026-01-28-040000', [late]]);
});

test('a point that shares a file with another one leaves it there when it goes', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component', BY_COMPONENT);
  await adoptAll(ctx, store, { id: '2026-01-28-120000' });
  const hidden = '0-lifeboat/manifests/2026-01-28-120000';
  const kept = await Promise.all(
    ['.json', '.sha256'].map(async (end) => ({ end, data: await readAll(bucket.get(ctx, hidden + end)) })),
  );
  for (const { end } of kept) await bucket.delete(ctx, hidden + end);
  const [again] = await adoptAll(ctx, store, { timeZone: 'Europe/Madrid', id: '2026-01-28-110000' });
  for (const { end, data } of kept) await bucket.put(ctx, hidden + end, data); // as older versions made two of them
  assert.equal(again?.files.length, 2);
  assert.ok((await store.remove(ctx, ['2026-01-28-110000'])) > 0);
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  const bytes = Object.values(BY_COMPONENT).reduce((sum, { length }) => sum + length, 0);
  assert.ok((await store.remove(ctx, ['2026-01-28-120000'])) > bytes / 4);
  const left = (await contents(ctx, bucket)).map(([key]) => key);
  assert.ok(!left.some((key) => again?.files.includes(key)), left.join(' '));
});

test('what is imported while an earlier try at it is being cleared away is whole or is no point', async () => {
  const outcomes = new Set<string>();
  for (let at = 1; at <= 40; at += 1) {
    const ctx = testContext();
    const { bucket } = await opened(ctx, 'dated', DATED);
    const settings = { stack: 's', layout: 'dated' };
    const dying = faultyBucket(bucket, { changesMax: 2 });
    await assert.rejects(adoptAll(ctx, await plainFormat.open(ctx, dying, settings)));
    ctx.advance(1e9);
    await using store = await plainFormat.open(ctx, bucket, settings);
    const watched = watching(bucket, async (look) => {
      if (look !== at) return;
      await adoptAll(ctx, store).then(
        () => outcomes.add('imported'),
        (error: unknown) => {
          if (!isFailure(error, 'lease-lost')) throw error;
          outcomes.add('refused');
        },
      );
    });
    await (await plainFormat.open(ctx, watched, settings)).reclaim(ctx, { apply: true, graceMs: 1000 });
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), [], `${at}`);
  }
  assert.deepEqual([...outcomes].sort(), ['imported', 'refused']);
});

test('a file that is cut short, empty or not as long as its manifest says is named and left out', async () => {
  const whole = gzipSync('x'.repeat(10_000));
  const manifest = { version: '0.4.0', components: { redis: { file: `redis-${FOLDER}.rdb`, size: 12 } } };
  const bad: Record<string, Buffer>[] = [
    { [`${FOLDER}/postgres-${FOLDER}.sql.gz`]: whole.subarray(0, 20) },
    { [`${FOLDER}/postgres-${FOLDER}.sql.gz`]: Buffer.alloc(0) },
    { [`${FOLDER}/redis-${FOLDER}.rdb`]: Buffer.alloc(0) },
    {
      [`${FOLDER}/redis-${FOLDER}.rdb`]: Buffer.from('short'),
      [`${FOLDER}/manifest.json`]: Buffer.from(JSON.stringify(manifest)),
    },
  ];
  for (const files of bad) {
    const ctx = testContext();
    const { store } = await opened(ctx, 'dated', files);
    const [found] = await adoptAll(ctx, store);
    assert.deepEqual([found?.point, found?.findings.map(({ verdict }) => verdict)], [null, ['fail']]);
    assert.deepEqual(await Array.fromAsync(store.list(ctx)), []);
  }
});

test('a file that its own kind does not take for whole is left out', async () => {
  async function* cut(_ctx: Context, body: Bytes): Bytes {
    yield* body;
    throw new Failure('malformed', 'it ends early');
  }
  const known = (name: string) => (name.endsWith('.rdb') ? { part: 'dump.rdb', stamp: null, checked: cut } : null);
  const ctx = testContext();
  const { store } = await opened(ctx, 'dated', DATED);
  const [found] = await adoptAll(ctx, store, { components: [{ name: 'cache', kind: 'redis', recognise: known }] });
  assert.equal(found?.point, null);
  assert.deepEqual(
    found.findings.map(({ verdict, detail }) => [verdict, detail]),
    [['fail', 'it ends early']],
  );
});

test('a point keeps the files that are whole, and says that it is partial', async () => {
  const ctx = testContext();
  const files = { ...DATED, [`${FOLDER}/postgres-${FOLDER}.sql.gz`]: Buffer.from('no gzip') };
  const { store } = await opened(ctx, 'dated', files);
  const [found] = await adoptAll(ctx, store);
  assert.deepEqual([found?.point?.status, Object.keys(found?.point?.components ?? {})], ['partial', ['cache']]);
});

test('a file that two components claim is given to neither', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'dated', DATED);
  const [db] = COMPONENTS;
  assert.ok(db);
  const [found] = await adoptAll(ctx, store, { components: [...COMPONENTS, { ...db, name: 'other-db' }] });
  assert.deepEqual(Object.keys(found?.point?.components ?? {}), ['cache']);
  assert.match(found?.findings[0]?.detail ?? '', /db and other-db/);
});

test('an imported file that changes later is found, and a removed point takes its files along', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated', {
    ...DATED,
    [`${FOLDER}/manifest.json`]: Buffer.from('{"timestamp":"2024-02-23T02:00:00Z","components":{}}'),
  });
  await adoptAll(ctx, store);
  await bucket.put(ctx, `${FOLDER}/redis-${FOLDER}.rdb`, Buffer.from('REDIS0012'));
  const findings = await Array.fromAsync(store.check(ctx, { readData: 1 }));
  assert.deepEqual(
    findings.map(({ check, verdict }) => [check, verdict]),
    [[`${FOLDER}/cache/redis.rdb is whole`, 'fail']],
  );
  await store.remove(ctx, [FOLDER]);
  const left = (await contents(ctx, bucket)).map(([key]) => key);
  assert.deepEqual(left, [`${FOLDER}/loki-${FOLDER}.json.gz`]);
});

test('an import that dies leaves whole points and every file', async () => {
  for (let changesMax = 0; changesMax < 12; changesMax += 1) {
    const ctx = testContext();
    const { bucket } = await opened(ctx, 'by-component', BY_COMPONENT);
    const before = await contents(ctx, bucket);
    const settings = { stack: 's', layout: 'by-component' };
    const dying = faultyBucket(bucket, { changesMax });
    await adoptAll(ctx, await plainFormat.open(ctx, dying, settings)).catch((error: unknown) => {
      assert.ok(dying.changes() > changesMax, String(error));
    });
    await using store = await plainFormat.open(ctx, bucket, settings);
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
    ctx.advance(1e9);
    await store.reclaim(ctx, { apply: true, graceMs: 0 });
    const after = new Map(await contents(ctx, bucket));
    for (const [key, data] of before) assert.equal(after.get(key), data, key);
    await adoptAll(ctx, store);
    assert.equal((await Array.fromAsync(store.list(ctx))).length, 2);
  }
});

test('the clock on the wall is understood around its changes', () => {
  const madrid = zonedClock('Europe/Madrid');
  const cases = [
    ['2026-01-28T12:00:00Z', '2026-01-28T11:00:00.000Z'],
    ['2026-07-28T12:00:00Z', '2026-07-28T10:00:00.000Z'],
    ['2026-03-29T01:59:59Z', '2026-03-29T00:59:59.000Z'],
    ['2026-03-29T03:00:00Z', '2026-03-29T01:00:00.000Z'],
    ['2026-10-25T01:30:00Z', '2026-10-24T23:30:00.000Z'],
    ['2026-10-25T02:30:00Z', '2026-10-25T00:30:00.000Z'], // shown twice: the earlier
    ['2026-10-25T03:30:00Z', '2026-10-25T02:30:00.000Z'],
  ] as const;
  for (const [wall, utc] of cases) assert.equal(madrid(new Date(wall)).toISOString(), utc, wall);
  assert.equal(zonedClock('UTC')(new Date('2026-01-28T12:00:00Z')).toISOString(), '2026-01-28T12:00:00.000Z');
  assert.throws(
    () => zonedClock('Europe/Madird'),
    (error) => isFailure(error, 'settings-invalid'),
  );
});

async function opened(
  ctx: Context,
  layout: Layout,
  files: Readonly<Record<string, Buffer>>,
): Promise<{ bucket: Bucket; store: Store }> {
  const bucket = memoryBucket();
  for (const [key, data] of Object.entries(files)) await bucket.put(ctx, key, data);
  await plainFormat.create(ctx, bucket, { stack: 's', layout });
  return { bucket, store: await plainFormat.open(ctx, bucket, { stack: 's', layout }) };
}

async function adoptAll(ctx: Context, store: Store, options: Partial<AdoptOptions> = {}): Promise<Adopted[]> {
  assert.ok(store.adopt);
  return await Array.fromAsync(
    store.adopt(ctx, { stack: 's', components: COMPONENTS, timeZone: 'UTC', plan: null, ...options }),
  );
}

async function contents(ctx: Context, bucket: Bucket): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const { key } of bucket.list(ctx, '')) {
    found.push([key, (await readAll(bucket.get(ctx, key))).toString('latin1')]);
  }
  return found.filter(([key]) => key !== '0-lifeboat/clock' && key !== '0-lifeboat/owner.json');
}
