// One stack of unlike services: captured in the order of its references, lost, previewed, brought back, rehearsed.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { liveContext } from '../../src/core/testing.ts';
import { request } from '../../src/drivers/zookeeper/protocol.ts';
import { make, openClient, remove } from '../../src/drivers/zookeeper/testing.ts';
import { installed } from '../servers/install.ts';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { type Redis, startRedis } from '../servers/redis.ts';
import { type S3Server, startS3 } from '../servers/s3.ts';
import { startZookeeper, type Zookeeper } from '../servers/zookeeper.ts';
import type { Ran } from './lifeboat.ts';
import { clientOf, makeAgeing, restoreStruck, rulesOf } from './lifecycle.ts';
import { query } from './postgres.ts';
import { redisCommand } from './redis.ts';
import { workspace } from './workspace.ts';

const skip = await missing('postgres-17', 'redis-7', 'minio', 'zookeeper-3.9');
const { store, configure, dir, run, runWith } = workspace('whole-stack');
const BUCKET = 'invoices';
let db: Postgres;
let cache: Redis;
let objects: S3Server;
let zookeeper: Zookeeper;
let s3: S3Client;
let shop = '';
/** Where sandboxes find their programs. */
let env: Record<string, string> = {};

function configuration(): string {
  const { endpoint, accessKey, secretKey } = objects;
  const log = (word: string): string => `{ shell: "echo ${word} >> ${dir}/order.log" }`;
  return `stack: shop
stores: { main: ${store('main')}, aside: ${store('aside')} }
components:
  shop-db:
    kind: postgresql
    url: "${shop}"
    bin_dir: ${db.bin}
    checks: [{ name: orders are there, sql: select count(*) from orders, equals: 500 }]
    hooks:
      before_capture: [${log('db begins')}]
      after_capture: [${log('db ends')}, { sql: "insert into invoices values ('i/late.pdf')" }]
      after_restore: [${log('db is back')}]
  sessions:
    kind: redis
    url: "${cache.url}"
    restore_after: [shop-db]
  objects:
    kind: s3
    endpoint: ${endpoint}
    access_key: ${accessKey}
    secret_key: ${secretKey}
    buckets: [${BUCKET}]
    restore_after: [shop-db]
    hooks:
      before_capture: [${log('objects begin')}]
      before_restore: [${log('objects come')}]
  settings: { kind: zookeeper, hosts: "${zookeeper.hosts}", root: /shop }
references:
  - name: invoices exist
    from: { component: shop-db, sql: "select object_key from invoices" }
    to: { component: objects, in: ${BUCKET} }
    orphans_max: 1
  - name: buyers are logged in
    from: { component: shop-db, sql: "select distinct 'session:' || buyer from orders" }
    to: { component: sessions, in: "session:*" }
    missing_max: 1
plans:
  nightly:
    to: [main]
    ordering: references_first
    hooks: { before: [${log('plan begins')}], after: [${log('plan ends')}] }
`;
}

const put = (key: string): Promise<unknown> =>
  s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: `content of ${key}` }));

async function fill(): Promise<void> {
  await query(db.url, 'create database shop');
  await query(shop, `create table orders as select i as id, i % 10 as buyer from generate_series(1, 500) i`);
  await query(shop, `create table invoices as select 'i/' || i || '.pdf' as object_key from generate_series(1, 5) i`);
  await redisCommand(cache.url, ['eval', "for i = 1, 9 do redis.call('set', 'session:' .. i, 'on') end", '0']);
  await fillBucket();
  await using client = await openClient(liveContext(), { hosts: zookeeper.hosts });
  await make(client, '/shop', { data: 'the shop' });
  await make(client, '/shop/flags', { data: 'sale=on' });
}

async function fillBucket(): Promise<void> {
  await makeAgeing(s3, BUCKET);
  for (const key of ['i/1.pdf', 'i/2.pdf', 'i/3.pdf', 'i/4.pdf', 'i/5.pdf', 'i/nobody points to me.pdf'])
    await put(key);
}

/** Everything of the shop is gone. */
async function disaster(): Promise<void> {
  await query(db.url, 'drop database if exists shop with (force)');
  await redisCommand(cache.url, ['flushall']);
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: BUCKET }));
  for (const { Key } of Contents) await s3.send(new DeleteObjectCommand({ Bucket: BUCKET, Key }));
  await s3.send(new DeleteBucketCommand({ Bucket: BUCKET }));
  await using client = await openClient(liveContext(), { hosts: zookeeper.hosts });
  await remove(client, '/shop/flags');
  await remove(client, '/shop');
}

before(async () => {
  if (skip !== false) return;
  [db, cache, objects, zookeeper] = await Promise.all([
    startPostgres(17),
    startRedis('redis-7'),
    startS3('minio'),
    startZookeeper(),
  ]);
  s3 = clientOf(objects);
  shop = db.url.replace(/postgres$/, 'shop');
  const programs = [db.bin, dirname(cache.program), dirname(await installed('minio')), process.env.PATH];
  env = { PATH: programs.join(delimiter), ZOOKEEPER_HOME: zookeeper.lib };
  await fill();
  configure(configuration());
  await run(0, 'init');
});
after(async () => {
  s3?.destroy();
  await Promise.all([db, cache, objects, zookeeper].map((each) => each?.[Symbol.asyncDispose]()));
});

const logged = (): string[] => readFileSync(join(dir, 'order.log'), 'utf8').trim().split('\n');
const forget = (): void => writeFileSync(join(dir, 'order.log'), '');
interface Findings {
  readonly tally: Readonly<Record<'pass' | 'unknown' | 'fail', number>>;
  readonly kept: readonly { check: string; verdict: string; detail: string }[];
}
interface Restored {
  readonly verdict: string;
  readonly complete: boolean;
  readonly components: readonly { name: string; verdict: string }[];
  readonly references: Findings;
}
const jsonOf = <T>(ran: Ran): T => ran.json() as T;

test('what is pointed to is captured after what points to it, between the hooks, with cuts and skew', {
  skip,
}, async () => {
  forget();
  await run(0, 'backup', '--plan', 'nightly');
  const said = logged();
  assert.deepEqual([said[0], said.at(-1)], ['plan begins', 'plan ends']);
  assert.deepEqual(said.slice(1, -1), ['db begins', 'db ends', 'objects begin']);
  type Shown = { skew_ms: number; status: string; components: Record<string, { cut: { at: string } }> };
  const point = jsonOf<Shown>(await run(0, 'show', 'latest', '--json'));
  const cuts = Object.values(point.components).map(({ cut }) => Date.parse(cut.at));
  assert.equal(cuts.length, 4);
  assert.deepEqual([point.status, point.skew_ms], ['complete', Math.max(...cuts) - Math.min(...cuts)]);
  const [row] = await query(shop, "select count(*)::int as late from invoices where object_key = 'i/late.pdf'");
  assert.equal(row?.late, 1, 'the hook in SQL was run, after the cut');
});

test('targets that hold data are refused together, before any of them is touched', { skip }, async () => {
  const { stdout } = await run(12, 'restore', 'latest', '--yes', '--json');
  const { error } = JSON.parse(stdout) as { error: { message: string } };
  for (const name of ['shop-db', 'sessions', 'objects', 'settings']) assert.match(error.message, new RegExp(name));
});

test('the preview tells the order and what is suspended; the restore brings all of it back, and checks that it fits', {
  skip,
}, async () => {
  await disaster();
  const preview = jsonOf<{ order: string[][]; components: { name: string; suspended: string[] }[] }>(
    await run(0, 'restore', 'latest', '--preview', '--json'),
  );
  assert.deepEqual(
    preview.order.map((group) => group.toSorted()),
    [
      ['settings', 'shop-db'],
      ['objects', 'sessions'],
    ],
  );
  const suspended = preview.components.flatMap((each) => each.suspended.map((rule) => `${each.name}: ${rule}`));
  assert.match(suspended.join(), /^objects: .*old/);
  forget();
  const restored = jsonOf<Restored>(await run(0, 'restore', 'latest', '--yes', '--json'));
  assert.deepEqual([restored.verdict, restored.complete, restored.components.length], ['pass', true, 4]);
  assert.deepEqual(logged(), ['db is back', 'objects come']);
  // The two orphans of the bucket and the database: one object that nobody points to; the late row is not in the point.
  const details = restored.references.kept.map(({ detail }) => detail);
  assert.deepEqual(details, [
    '0 missing of 5',
    '1 orphans of 6, 1 allowed, such as i/nobody points to me.pdf',
    '1 missing of 10, 1 allowed, such as session:0',
  ]);
  assert.deepEqual(await query(shop, 'select count(*)::int as orders from orders'), [{ orders: 500 }]);
  assert.equal(await redisCommand(cache.url, ['get', 'session:7']), 'on');
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: BUCKET, Key: 'i/3.pdf' }));
  assert.equal(await Body?.transformToString(), 'content of i/3.pdf');
  assert.deepEqual(await rulesOf(s3, BUCKET), ['old'], 'what was suspended is set back');
  await using client = await openClient(liveContext(), { hosts: zookeeper.hosts });
  const { body } = await client.ask('getData', request.read('/shop/flags'));
  assert.equal(body.bytes()?.toString(), 'sale=on');
});

test('the whole stack is drilled in sandboxes of the versions that were captured', { skip }, async () => {
  const { evidence } = jsonOf<{ evidence: { verdict: string; references: Findings; components: object[] } }>(
    await runWith({ env }, 0, 'drill', '--json'),
  );
  assert.deepEqual([evidence.verdict, evidence.components.length], ['pass', 4]);
  assert.deepEqual(evidence.references.tally, { pass: 3, unknown: 0, fail: 0 });
});

test('a lifecycle that a killed restore had suspended is set back by the next backup, to whatever store (fault 45)', {
  skip,
}, async () => {
  await fillBucket();
  await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'large', Body: randomBytes(32 * 1024 * 1024) }));
  await run(0, 'backup', 'objects', '--to', 'main');
  const { code } = await restoreStruck(dir, s3, BUCKET, (restore) => void restore.kill('SIGKILL'));
  assert.equal(code, null, 'it was killed');
  assert.deepEqual(await rulesOf(s3, BUCKET), []);
  const { stdout } = await run(0, 'backup', 'objects', '--to', 'aside');
  assert.match(stdout, /objects: what an earlier restore had suspended is set back/);
  assert.deepEqual(await rulesOf(s3, BUCKET), ['old']);
});

test('a service that is down makes the point partial, and an object that is gone fails what is restored', {
  skip,
}, async () => {
  await s3.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: 'i/3.pdf' }));
  await cache.stop();
  const backup = await run(3, 'backup', '--to', 'main', '--json');
  const { point } = jsonOf<{ point: { status: string; id: string } }>(backup);
  assert.equal(point.status, 'partial');
  await cache.start();
  await disaster();
  await run(3, 'restore', point.id, '--preview');
  const { stdout } = await run(3, 'restore', point.id, '--yes');
  assert.match(stdout, /fail: invoices exist: .*1 missing of 5, such as i\/3\.pdf/);
  assert.match(stdout, /shop-db +back, proved equal/);
  assert.match(stdout, /sessions +NOT IN THE POINT/);
  assert.match(stdout, /unknown: buyers are logged in: .*: sessions did not come back/);
});
