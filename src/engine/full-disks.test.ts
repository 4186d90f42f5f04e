// A store or a scratch disk that is full while real services are captured.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { FILLER, smallDisk } from '../../test/servers/disks.ts';
import { startKafka } from '../../test/servers/kafka.ts';
import { startLoki } from '../../test/servers/loki.ts';
import { needServer } from '../../test/servers/need.ts';
import { startZookeeper } from '../../test/servers/zookeeper.ts';
import { localBucket } from '../buckets/local/bucket.ts';
import type { Driver } from '../core/driver.ts';
import { isFailure } from '../core/errors.ts';
import { inventoryOf } from '../core/inventory.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { liveContext, memoryParts, type TestContext } from '../core/testing.ts';
import { worst } from '../core/verdict.ts';
import { kafkaDriver } from '../drivers/kafka/driver.ts';
import { withAdmin, withProducer } from '../drivers/kafka/testing.ts';
import { lokiDriver } from '../drivers/loki/driver.ts';
import { nsAgo, push } from '../drivers/loki/testing.ts';
import { zookeeperDriver } from '../drivers/zookeeper/driver.ts';
import { make, openClient } from '../drivers/zookeeper/testing.ts';
import { resticFormat } from '../stores/restic/store.ts';
import { backUp } from './backup.ts';
import type { NamedStore, StackComponent } from './model.ts';
import { listPoints } from './points.ts';
import { verifyPoints } from './verify.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 96 * MIB;
/** Less than what is added between two backups, which is about 8 MiB and can't be compressed much. */
const LEFT_BYTES = MIB;
const [PIECES, PIECE_BYTES] = [40, 200_000];

interface Protected {
  readonly item: StackComponent;
  /** Adds so many pieces. */
  grow(): Promise<void>;
}
interface Kind {
  readonly driver: Driver;
  readonly server: 'kafka-4' | 'zookeeper-3.9' | 'loki-3';
  begin(): Promise<{ readonly settings: unknown; grow(pieces: readonly Buffer[]): Promise<void> }>;
}

const stack = new AsyncDisposableStack();
after(() => stack.disposeAsync());
const ctx = liveContext();

const KINDS: readonly Kind[] = [
  {
    driver: kafkaDriver,
    server: 'kafka-4',
    async begin() {
      const { brokers } = stack.use(await startKafka('kafka-4'));
      await withAdmin(brokers, (admin) => admin.createTopics({ topics: ['events'], partitions: 1, replicas: 1 }));
      return {
        settings: { brokers },
        async grow(pieces) {
          const messages = pieces.map((value) => ({ topic: 'events', partition: 0, value }));
          await withProducer(brokers, (producer) => producer.send({ messages }));
        },
      };
    },
  },
  {
    driver: zookeeperDriver,
    server: 'zookeeper-3.9',
    async begin() {
      const { hosts } = stack.use(await startZookeeper());
      const client = stack.use(await openClient(ctx, { hosts }));
      await make(client, '/shop');
      return {
        settings: { hosts, root: '/shop' },
        async grow(pieces) {
          for (const data of pieces) await make(client, `/shop/${crypto.randomUUID()}`, { data });
        },
      };
    },
  },
  {
    driver: lokiDriver,
    server: 'loki-3',
    async begin() {
      const limits = ['ingestion_rate_mb: 1024', 'ingestion_burst_size_mb: 1024', 'per_stream_rate_limit: 1GB'];
      limits.push('per_stream_rate_limit_burst: 1GB', 'max_line_size: 1MB');
      const loki = stack.use(await startLoki({ limits }));
      let lines = 0;
      return {
        settings: { url: loki.url, since: '7d' },
        async grow(pieces) {
          for (const piece of pieces) {
            const at = nsAgo(30 * 3_600_000, ++lines);
            await push(loki, [{ stream: { app: 'shop' }, values: [[at, piece.toString('base64')]] }]);
          }
        },
      };
    },
  },
];

const begun = new Map<string, Promise<Protected>>();
function protectedBy(kind: Kind): Promise<Protected> {
  const { driver } = kind;
  const starting = begun.get(driver.kind) ?? start();
  begun.set(driver.kind, starting);
  return starting;
  async function start(): Promise<Protected> {
    const { settings, grow } = await kind.begin();
    const component = driver.open(settings);
    const item = { name: 'it', kind: driver.kind, driver, component, settings, restoreAfter: [], checks: [] };
    return { item, grow: () => grow(Array.from({ length: PIECES }, () => randomBytes(PIECE_BYTES))) };
  }
}

async function storeIn(dir: string): Promise<NamedStore & AsyncDisposable> {
  const settings = { stack: 'shop', password: 'horse' };
  mkdirSync(dir);
  const bucket = localBucket(dir);
  await resticFormat.create(ctx, bucket, settings);
  const store = await resticFormat.open(ctx, bucket, settings);
  return { name: 'main', store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

/** A full disk is not waited for. */
function hasty(more: Partial<TestContext> = {}): TestContext {
  let waits = 0;
  const sleep = (ms: number): Promise<void> => {
    assert.ok((waits += 1) <= 20, 'it waits for a full disk');
    return ctx.sleep(ms);
  };
  return liveContext({ sleep, ...more });
}

/** One good point, then more data and the disk that `fill` fills: no point of it, and one as soon as there is room. */
async function survives(kind: Kind, at: NamedStore, scratch: string, disk: { fill(): void; free(): void }) {
  const { item, grow } = await protectedBy(kind);
  const backedUp = () => backUp(hasty({ scratch }), { stack: 'shop', plan: null, components: [item], stores: [at] });
  const valid = async (points: number): Promise<readonly RecoveryPoint[]> => {
    const { findings } = await verifyPoints(ctx, { in: at, readData: 1 });
    assert.equal(findings.verdict, 'pass', JSON.stringify(findings.kept));
    const found = await listPoints(ctx, at);
    assert.equal(found.length, points);
    return found.map(({ point }) => point);
  };
  await grow();
  assert.equal((await backedUp()).complete, true);
  await grow();
  disk.fill();
  // Where no store is left it throws, and where no component is left it says so.
  const reason = await backedUp().then(
    ({ failures }) => failures[0]?.error,
    (error: unknown) => error,
  );
  assert.ok(isFailure(reason, 'no-space'), String(reason));
  await valid(1);
  disk.free();
  assert.equal((await backedUp()).complete, true);
  const newest = (await valid(2)).at(-1) ?? assert.fail();
  const source = await at.store.open(ctx, newest.id, item.name);
  const live = await item.component.inventory(ctx);
  const findings = await Array.fromAsync(item.driver.compare(ctx, inventoryOf(source), live));
  assert.deepEqual(new Set(findings.map(({ verdict }) => verdict)), new Set(['pass']), JSON.stringify(findings));
  return reason;
}

for (const kind of KINDS) {
  const { driver, server } = kind;
  test(`${driver.kind}: a full store stops the backup at once and is valid, and the next one goes on (fault 16)`, async (t) => {
    const disk = (await needServer(t, server)) && smallDisk(t, DISK_BYTES);
    if (!disk) return;
    await using store = await storeIn(join(disk.dir, 'store'));
    await survives(kind, store, ctx.scratch, { fill: () => disk.fill(LEFT_BYTES), free: disk.free });
  });

  test(`${driver.kind}: a full scratch disk stops the backup at once and keeps nothing, the next one goes on (fault 16)`, async (t) => {
    const disk = (await needServer(t, server)) && smallDisk(t, DISK_BYTES);
    if (!disk) return;
    const dir = mkdtempSync(join(tmpdir(), 'lifeboat-full-'));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    await using store = await storeIn(join(dir, 'store'));
    const free = (): void => {
      assert.deepEqual(readdirSync(disk.dir), [FILLER], 'nothing is left there');
      disk.free();
    };
    const reason = await survives(kind, store, disk.dir, { fill: () => disk.fill(0), free });
    assert.match(String(reason), /can't wait in/);
  });
}

test('kafka: a restore that finds its scratch disk full makes nothing, and the next one is whole (fault 16)', async (t) => {
  const disk = (await needServer(t, 'kafka-4')) && smallDisk(t, DISK_BYTES);
  if (!disk) return;
  const { item, grow } = await protectedBy(KINDS[0] ?? assert.fail());
  await grow();
  const { sink, source } = memoryParts();
  await item.component.capture(ctx, sink);
  disk.fill(0);
  const options = { rename: { events: 'events-back' } };
  const full = hasty({ scratch: disk.dir });
  await assert.rejects(item.component.restore(full, { base: source }, options), { code: 'no-space' });
  const names = async () => await Array.fromAsync(item.component.names?.(ctx, 'events-back') ?? []);
  await assert.rejects(names, { code: 'missing' });
  disk.free();
  const restored = await item.component.restore(full, { base: source }, options);
  assert.deepEqual(restored.missing, []);
  await restored.settle?.(ctx);
  const findings = kafkaDriver.compare(ctx, inventoryOf(source), (await restored.inventory?.(ctx)) ?? assert.fail());
  assert.equal(worst((await Array.fromAsync(findings)).map(({ verdict }) => verdict)), 'pass');
});
