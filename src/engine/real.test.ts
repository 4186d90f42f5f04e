// The use cases with the real drivers, real servers and real stores, all at once.

import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import pg from 'pg';
import { createClient } from 'redis';
import { missing } from '../../test/servers/need.ts';
import { startPostgres } from '../../test/servers/postgres.ts';
import { startRedis } from '../../test/servers/redis.ts';
import { localBucket } from '../buckets/local/bucket.ts';
import type { Driver } from '../core/driver.ts';
import type { StoreFormat } from '../core/storage.ts';
import { liveContext } from '../core/testing.ts';
import { filesDriver } from '../drivers/files/driver.ts';
import { postgresqlDriver } from '../drivers/postgresql/driver.ts';
import { redisDriver } from '../drivers/redis/driver.ts';
import { processSandboxes } from '../sandboxes/process/runner.ts';
import { plainFormat } from '../stores/plain/store.ts';
import { resticFormat } from '../stores/restic/store.ts';
import { backUp } from './backup.ts';
import { drillPoint } from './drill.ts';
import { evidenceMarkdown } from './evidence.ts';
import { mergeRows } from './extract.ts';
import type { NamedStore, StackComponent } from './model.ts';
import { restorePoint } from './restore.ts';
import { verifyPoints } from './verify.ts';

const skip = await missing('postgres-16', 'redis-7');

function configured(
  name: string,
  driver: Driver,
  settings: unknown,
  more: Partial<StackComponent> = {},
): StackComponent {
  const component = driver.open(settings);
  return { name, kind: driver.kind, driver, component, settings, restoreAfter: [], checks: [], ...more };
}

async function rig() {
  const stack = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-engine-'));
  chmodSync(dir, 0o755);
  stack.defer(() => rmSync(dir, { recursive: true, force: true }));
  const [postgres, redis] = await Promise.all([startPostgres(16), startRedis('redis-7')]);
  stack.use(postgres);
  stack.use(redis);
  const sql = async (database: string, ...statements: string[]) => {
    const client = new pg.Client({
      host: postgres.host,
      port: postgres.port,
      user: postgres.user,
      password: postgres.password,
      database,
    });
    await client.connect();
    try {
      let rows: unknown[] = [];
      for (const each of statements) rows = (await client.query(each)).rows;
      return rows;
    } finally {
      await client.end();
    }
  };
  const cache = createClient({ url: redis.url });
  await cache.connect();
  stack.defer(() => cache.close());
  const files = join(dir, 'files');
  mkdirSync(files);
  const { host, port, user, password } = postgres;
  const components = [
    configured('cache', redisDriver, { url: redis.url }, { restoreAfter: ['main-db'] }),
    configured(
      'main-db',
      postgresqlDriver,
      { host, port, user, password, databases: ['shop'] },
      {
        checks: [{ name: 'orders', sql: 'select count(*) from orders', equals: 500 }],
        objective: { rtoMs: 3_600_000, rpoMs: 3_600_000 },
      },
    ),
    configured('config', filesDriver, { paths: [files] }),
  ];
  const ctx = liveContext({ env: { ...process.env, PATH: `${postgres.bin}:${process.env.PATH}` } });
  return { stack, ctx, dir, sql, cache, files, components };
}

async function storeIn(
  ctx: ReturnType<typeof liveContext>,
  name: string,
  format: StoreFormat,
  dir: string,
  settings: unknown,
) {
  mkdirSync(dir);
  const bucket = localBucket(dir);
  await format.create(ctx, bucket, settings);
  const store = await format.open(ctx, bucket, settings);
  return { name, store } satisfies NamedStore;
}

describe('PostgreSQL, Redis and files together', { skip }, () => {
  test('one point in two stores is drilled, survives the loss of everything, and gives single rows back', async () => {
    const { stack, ctx, dir, sql, cache, files, components } = await rig();
    await using _ = stack;
    await sql('postgres', 'create database shop');
    await sql(
      'shop',
      'create table orders (id int primary key, note text)',
      "insert into orders select n, 'order ' || n from generate_series(1, 500) n",
    );
    await cache.set('session', 'one');
    await cache.hSet('basket', { apple: '2', pear: '3' });
    writeFileSync(join(files, 'app.conf'), 'debug = false\n');

    const restic = await storeIn(ctx, 'restic', resticFormat, join(dir, 'restic'), {
      stack: 'shop',
      password: 'horse',
    });
    const plain = await storeIn(ctx, 'plain', plainFormat, join(dir, 'plain'), { stack: 'shop', layout: 'dated' });
    stack.use(restic.store);
    stack.use(plain.store);
    const done = await backUp(ctx, { stack: 'shop', plan: 'nightly', components, stores: [restic, plain] });
    assert.equal(done.complete, true, JSON.stringify(done.point?.components));
    const { point } = done;
    assert.ok(point);

    for (const from of [restic, plain]) {
      const verified = await verifyPoints(ctx, { in: from, readData: 1 });
      assert.equal(verified.findings.verdict, 'pass', JSON.stringify(verified.findings.kept));
      const drilled = await drillPoint(ctx, { from, point, components, sandboxes: processSandboxes({ parent: dir }) });
      assert.equal(drilled.evidence.verdict, 'pass', evidenceMarkdown(drilled.evidence));
      assert.equal(drilled.evidence.objectives_met, true);
      assert.deepEqual(drilled.proved.toSorted(), ['cache', 'config', 'main-db']);

      await sql('postgres', 'drop database if exists shop with (force)', 'create database shop');
      await cache.flushAll();
      rmSync(join(files, 'app.conf'));
      const restored = await restorePoint(ctx, { from, point, components });
      assert.equal(restored.verdict, 'pass', JSON.stringify(restored.outcomes.map(({ findings }) => findings.kept)));
      assert.deepEqual(await sql('shop', 'select count(*)::int as n, max(note) as last from orders'), [
        { n: 500, last: 'order 99' },
      ]);
      assert.deepEqual({ ...(await cache.hGetAll('basket')) }, { apple: '2', pear: '3' });
      assert.equal(readFileSync(join(files, 'app.conf'), 'utf8'), 'debug = false\n');
    }

    await sql('shop', 'delete from orders where id between 10 and 19', "update orders set note = 'x' where id = 30");
    const database = components.find(({ name }) => name === 'main-db');
    assert.ok(database);
    const merged = await mergeRows(ctx, {
      from: restic,
      point,
      component: database,
      into: database,
      selection: { database: 'shop', tables: ['public.orders'], where: 'id <= 30' },
      sandboxes: processSandboxes({ parent: dir }),
      mode: 'missing-only',
      confirm: async () => true,
    });
    assert.deepEqual(merged.difference, { missing: 10, different: 1, same: 19, applied: 0 });
    assert.equal(merged.applied?.applied, 10);
    assert.deepEqual(await sql('shop', 'select count(*)::int as n from orders'), [{ n: 500 }]);

    await sql('shop', "update orders set note = 'spoilt'");
    await cache.set('session', 'spoilt');
    const only = ['main-db', 'cache'];
    const inPlace = await restorePoint(ctx, {
      from: restic,
      point,
      components,
      only,
      inPlace: true,
      terminateConnections: true,
    });
    assert.equal(inPlace.verdict, 'pass', JSON.stringify(inPlace.outcomes.map(({ findings }) => findings.kept)));
    assert.deepEqual(await sql('shop', "select count(*)::int as n from orders where note = 'spoilt'"), [{ n: 0 }]);
    assert.equal(await cache.get('session'), 'one');
    assert.notEqual(inPlace.safety?.point ?? null, null, 'what Redis held became a point');
    const kept = inPlace.outcomes.flatMap(({ keptAs }) => keptAs);
    assert.equal(kept.length, 1, 'the old database is still there');
  });
});
