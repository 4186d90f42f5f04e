import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { describe, it } from 'node:test';
import { missing } from '../../test/servers/need.ts';
import { until } from '../../test/servers/processes.ts';
import { type Redis, startRedis } from '../../test/servers/redis.ts';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import type { FoundMarker } from '../core/marker.ts';
import { liveContext } from '../core/testing.ts';
import { redisDriver } from '../drivers/redis/driver.ts';
import { open } from '../drivers/redis/testing.ts';
import { processSandboxes } from '../sandboxes/process/runner.ts';
import { plainFormat } from '../stores/plain/store.ts';
import { backUp } from './backup.ts';
import { drillPoint } from './drill.ts';
import { evidenceMarkdown, lostMs, readEvidence } from './evidence.ts';
import { lossOf, marking } from './markers.ts';
import type { NamedStore, StackComponent } from './model.ts';
import { restorePoint } from './restore.ts';

const SECOND_MS = 1000;
const SOON_MS = 30_000;

const ctx = liveContext();
function marked({ url }: Redis, markersMs: number | undefined = SECOND_MS): StackComponent {
  const settings = { url };
  const component = redisDriver.open(settings);
  return {
    name: 'cache',
    kind: 'redis',
    driver: redisDriver,
    component,
    settings,
    restoreAfter: [],
    checks: [],
    markersMs,
  };
}
async function markerOf({ component }: StackComponent): Promise<FoundMarker | null> {
  return (await component.marker?.(ctx)) ?? null;
}
async function untilMarked(item: StackComponent, number: number): Promise<void> {
  await until(`marker ${number}`, SOON_MS, async () => ((await markerOf(item))?.number ?? 0) >= number);
}
async function store(settings = { stack: 'shop', layout: 'dated' }): Promise<NamedStore> {
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, settings);
  return { name: 'here', store: await plainFormat.open(ctx, bucket, settings) };
}

describe('markers', { skip: await missing('redis-8') }, () => {
  it('are written as long as it is followed, and numbered on from what is there', async () => {
    await using redis = await startRedis('redis-8');
    const item = marked(redis, 5);
    {
      await using _ = marking(ctx, [item]);
      await untilMarked(item, 3);
    }
    const last = (await markerOf(item))?.number ?? 0;
    {
      await using _ = marking(ctx, [item]);
      await untilMarked(item, last + 1);
    }
    assert.ok(Math.abs(Date.now() - Date.parse((await markerOf(item))?.at ?? '')) < SOON_MS);
  });

  it('are off unless they are asked for', async () => {
    await using redis = await startRedis('redis-8');
    await using _ = marking(ctx, [{ ...marked(redis), markersMs: undefined }]);
    assert.equal(await markerOf(marked(redis)), null);
  });

  it('a service that takes none is told of once, and marked as soon as it takes some', async () => {
    await using redis = await startRedis('redis-8');
    await using connection = await open(ctx, { url: redis.url });
    await connection.call('REPLICAOF', '127.0.0.1', '1');
    const item = marked(redis, 1);
    let tries = 0;
    const { mark } = item.component;
    assert.ok(mark);
    const component: StackComponent['component'] = {
      ...item.component,
      mark(...given) {
        tries += 1;
        return mark(...given);
      },
    };
    const log = liveContext();
    await using _ = marking(log, [{ ...item, component }]);
    await until('some tries', SOON_MS, async () => tries > 5);
    assert.deepEqual(
      log.logged.map(({ level, message }) => [level, message]),
      [['warn', 'no marker could be written']],
    );
    assert.match(JSON.stringify(log.logged), /is a standby/);
    await connection.call('REPLICAOF', 'NO', 'ONE');
    await untilMarked(item, 1);
    assert.equal(log.logged.length, 1);
  });

  it('a drill measures the loss from the newest that came back, and its verdict is what it was', async () => {
    await using redis = await startRedis('redis-8');
    const within = liveContext({ env: { ...process.env, PATH: `${dirname(redis.program)}:${process.env.PATH}` } });
    const item = marked(redis);
    const at = new Date(Date.now() - 3_600_000).toISOString();
    await item.component.mark?.(ctx, { number: 41, at });
    const from = await store();
    await using _ = from.store;
    const { point } = await backUp(within, { stack: 'shop', plan: null, components: [item], stores: [from] });
    assert.ok(point);
    await item.component.mark?.(ctx, { number: 42, at: new Date().toISOString() });
    const request = { from, point, sandboxes: processSandboxes() };
    const { evidence } = await drillPoint(within, { ...request, components: [item] });
    const [component] = evidence.components;
    const where = 'key lifeboat:marker of db0';
    assert.deepEqual(component?.marker, {
      number: 41,
      at,
      where,
      lost_ms: Date.parse(evidence.started_at) - Date.parse(at),
    });
    assert.deepEqual([evidence.verdict, component?.warnings], ['pass', []]);
    assert.match(evidenceMarkdown(evidence), /newest marker that came back \| lost \|\n.*\n\| cache \| 41 of .* \| 1h/);
    assert.deepEqual((await readEvidence(ctx, from.store, evidence.drill)).components[0]?.marker, component?.marker);
    assert.equal(lostMs(evidence), component?.marker?.lost_ms);

    const plain = await drillPoint(within, { ...request, components: [{ ...item, markersMs: undefined }] });
    assert.deepEqual([plain.evidence.components[0]?.marker, lostMs(plain.evidence)], [null, null]);
    assert.doesNotMatch(evidenceMarkdown(plain.evidence), /marker/);
  });

  it('a restore tells the loss as well; without any that came back it can not be measured', async () => {
    await using redis = await startRedis('redis-8');
    await using target = await startRedis('redis-8');
    await using atTarget = await open(ctx, { url: target.url });
    const from = await store();
    await using _ = from.store;
    const item = marked(redis);
    await using connection = await open(ctx, { url: redis.url });
    await connection.call('SET', 'a', 'b');
    const components = [item];
    const restored = async () => {
      const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
      assert.ok(point);
      await atTarget.call('FLUSHALL');
      const request = { from, point, components, to: { cache: target.url } };
      const [outcome] = (await restorePoint(ctx, request)).outcomes;
      return outcome;
    };
    const none = await restored();
    assert.deepEqual([none?.verdict, none?.loss], ['pass', null]);
    assert.match(none?.warnings.join() ?? '', /no marker came back/);
    await item.component.mark?.(ctx, { number: 1, at: new Date(Date.now() - 60_000).toISOString() });
    const { loss, warnings } = (await restored()) ?? {};
    assert.equal(loss?.marker.number, 1);
    assert.ok(loss.lostMs >= 60_000);
    assert.deepEqual(warnings, []);
  });

  it('of a restore to a moment the loss ends there, not now', async () => {
    await using redis = await startRedis('redis-8');
    const item = marked(redis);
    const markedAt = Date.parse('2026-11-01T12:00:00Z');
    await item.component.mark?.(ctx, { number: 5, at: new Date(markedAt).toISOString() });
    const at = new Date(markedAt + 2500).toISOString();
    const origin = { aim: { at, beforeMs: null, clock: null, forkMs: null } };
    const { loss } = await lossOf(ctx, item, item.component, origin, new Date());
    assert.equal(loss?.lostMs, 2500);
  });
});
