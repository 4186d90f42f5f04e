// Following a cluster, and bringing it back as it was at moments of a recorded history.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { needServer } from '../../../../test/servers/need.ts';
import type { Component, ReplayTarget } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Context, InventoryLine } from '../../../core/model.ts';
import {
  chainOf,
  followTillFull,
  type Recording,
  randomOf,
  rangesOf,
  recording,
  stretchesOf,
} from '../../feed-testing.ts';
import { kafkaDriver } from '../driver.ts';
import { commitOffsets } from '../groups.ts';
import { type Stage, stage } from '../stage-testing.ts';
import { type BinaryMessage, onCluster, sharedServers, withAdmin } from '../testing.ts';
import { readRange } from './format.ts';

const servers = sharedServers();
after(() => servers[Symbol.asyncDispose]());

/** Between a moment and what is done next: a round that had begun by then has seen all that it will. */
const SEEN_MS = 300;

interface Moment {
  readonly at: string;
  readonly lines: readonly (readonly unknown[])[];
}

function now(topic: string, partition: number, count: number): BinaryMessage[] {
  const timestamp = BigInt(Date.now());
  return Array.from({ length: count }, (_, n) => ({
    ...{ topic, partition, timestamp, key: Buffer.from(`k${n}`), value: Buffer.from(`${timestamp} ${n}`) },
  }));
}

interface Scene extends AsyncDisposable {
  readonly at: Stage;
  readonly record: Recording;
  readonly component: Component;
}
/** Nobody follows it yet. */
async function scene(): Promise<Scene> {
  const at = await stage(servers);
  const record = await recording(at.ctx);
  const component = kafkaDriver.open(settings(at));
  return { at, record, component, [Symbol.asyncDispose]: () => record[Symbol.asyncDispose]() };
}

async function commit(at: Stage, group: string, topic: string, offset: number): Promise<void> {
  await onCluster(at.ctx, { brokers: at.brokers }, (cluster) =>
    commitOffsets(at.ctx, cluster, group, [{ topic, partition: 0, offset, metadata: group }]),
  );
}

function settings(at: Stage): object {
  return { brokers: at.brokers, exclude: ['*-back'], follow_every: '100ms' };
}

/** What is there now, once the journal has it. */
async function moment(at: Stage, record: Recording | null): Promise<Moment> {
  if (record) await record.reached(at.ctx);
  const lines = await told(at.ctx, await kafkaDriver.open(settings(at)).inventory(at.ctx));
  const now = at.ctx.now().toISOString();
  await at.ctx.sleep(SEEN_MS);
  if (record) await record.reached(at.ctx);
  return { at: now, lines };
}

async function told(
  ctx: Context,
  inventory: { lines(ctx: Context): AsyncIterable<InventoryLine> },
): Promise<unknown[][]> {
  const all = await Array.fromAsync(inventory.lines(ctx));
  return all.flatMap(({ kind, name, count, digest }) => (kind === 'facts' ? [] : [[kind, name, count, digest]]));
}

/** Beside what is there, which is taken away again. */
async function assertBack(at: Stage, record: Recording, expected: Moment, more: Partial<Back> = {}): Promise<void> {
  const { ctx, brokers } = at;
  const target = more.target ?? { kind: 'time', at: expected.at };
  const topics = expected.lines.flatMap(([kind, name]) => (kind === 'topic' ? [String(name)] : []));
  const rename = Object.fromEntries(topics.map((name) => [name, `${name}-back`]));
  const component = kafkaDriver.open(settings(at));
  const result = await component.restore(ctx, await chainOf(ctx, record, target, more.point), { rename });
  assert.deepEqual(result.missing, []);
  await result.settle?.(ctx);
  const lines = await told(ctx, (await result.inventory?.(ctx)) ?? assert.fail());
  await withAdmin(brokers, async (admin) => {
    await admin.deleteTopics({ topics: (await admin.listTopics()).filter((name) => name.endsWith('-back')) });
  });
  assert.deepEqual(lines, expected.lines, JSON.stringify(target));
}
interface Back {
  readonly target: ReplayTarget;
  readonly point: string;
}

test('a cluster comes back as it was at any moment, whatever was made, deleted and read since', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  await using it = await scene();
  const { at, record, component } = it;
  const { ctx, brokers } = at;
  const moments: Moment[] = [];
  const noted = async (): Promise<void> => void moments.push(await moment(at, record));
  await at.create('orders', {}, 2);
  await at.create('again');
  await at.send([...now('orders', 0, 20), ...now('again', 0, 5)]);
  await commit(at, 'billing', 'orders', 7);
  await record.follow(ctx, component, async () => {
    await noted();
    await at.send([...now('orders', 0, 3), ...now('orders', 1, 4)]);
    await commit(at, 'billing', 'orders', 21);
    await noted();
    await at.inTransaction(now('orders', 0, 4), 'abort');
    await at.inTransaction(now('orders', 0, 2), 'commit');
    await at.create('late', { 'retention.ms': '86400000' });
    await at.send(now('late', 0, 6));
    await noted();
    await withAdmin(brokers, (admin) => admin.deleteTopics({ topics: ['again'] }));
    await commit(at, 'billing', 'orders', 12); // goes back into what the point has
    await commit(at, 'audit', 'orders', 29);
    await noted();
  });
  // While nobody follows.
  await at.send(now('orders', 0, 5));
  await at.create('again');
  await at.send(now('again', 0, 2));
  await record.follow(ctx, component, async () => {
    await noted();
    await record.base(ctx, component);
    await at.send(now('late', 0, 1));
    await noted();
    await at.send(now('late', 0, 1));
    await noted();
  });
  assert.deepEqual(await stretchesOf(ctx, record), ['1: ranges']);
  const [first, second] = record.points.map(({ point }) => point);
  for (const each of moments) await assertBack(at, record, each, { point: first ?? '' });
  for (const each of moments.slice(-2)) await assertBack(at, record, each, { point: second ?? '' });
  const [oldest, newest] = [moments[0] ?? assert.fail(), moments.at(-1) ?? assert.fail()];
  await assertBack(at, record, newest, { target: { kind: 'latest' }, point: first ?? '' });
  await assertBack(at, record, oldest, { target: { kind: 'immediate' }, point: first ?? '' });
  const { to } = (await rangesOf(ctx, record)).at(-1) ?? assert.fail();
  await assertBack(at, record, newest, { target: { kind: 'position', value: to.position }, point: first ?? '' });
});

test('what came while nobody followed is told apart by the times of records', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  await using it = await scene();
  const { at, record, component } = it;
  const { ctx } = at;
  await at.create('orders');
  await record.follow(ctx, component, () => record.reached(ctx));
  await at.send(now('orders', 0, 30));
  const between = await moment(at, null);
  await at.send(now('orders', 0, 2));
  const past = now('orders', 0, 1).map((each) => ({ ...each, timestamp: 0n })); // it comes after what is later
  await at.send(past);
  await record.follow(ctx, component, () => record.reached(ctx));
  await assertBack(at, record, between);
});

test('nothing is lost and nothing is there twice, wherever following is killed or the store fails', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  await using it = await scene();
  const { at, record, component } = it;
  const { ctx } = at;
  await at.create('orders', {}, 2);
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  const random = randomOf(seed);
  await record.follow(ctx, component, () => record.reached(ctx));
  for (let kill = 0; kill < 6; kill++) {
    const work = async (): Promise<void> => {
      for (let n = 0; n < 6; n++) {
        await at.send([...now('orders', 0, 3), ...now('orders', 1, 2)]);
        await ctx.sleep(random() * 150);
      }
      await commit(at, 'billing', 'orders', kill * 10 + 3);
    };
    await followTillFull(ctx, record, component, { random, piecesMax: 8, work });
  }
  await record.follow(ctx, component, () => record.reached(ctx));
  await assertBack(at, record, await moment(at, null), { target: { kind: 'latest' } });
  assert.deepEqual(await stretchesOf(ctx, record), ['1: ranges']);
});

test('a broker that is cut off and a batch that no range has room for are gone on with', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  await using it = await scene();
  const { at, record, component } = it;
  const { ctx } = at;
  await at.create('orders', { 'max.message.bytes': '20000000' });
  await record.follow(ctx, component, () => record.reached(ctx));
  const value = randomBytes(19_000_000);
  await at.send([{ topic: 'orders', partition: 0, value, timestamp: BigInt(Date.now()) }]);
  let stored = 0;
  const dying = (): void => {
    if (++stored === 2) throw new Failure('no-space', 'between two pieces of it');
  };
  const killed = record.follow(ctx, component, () => record.reached(ctx), { before: dying });
  await assert.rejects(killed, { code: 'no-space' });
  await record.follow(ctx, component, async () => {
    await record.reached(ctx);
    const server = await servers.server('kafka-4');
    await server.kill();
    await ctx.sleep(500);
    await server.start();
    await at.send(now('orders', 0, 3));
    await record.reached(ctx);
  });
  await assertBack(at, record, await moment(at, null), { target: { kind: 'latest' } });
});

test('records that are deleted before they are read are a gap, and a point is taken after it (fault 29)', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  await using it = await scene();
  const { at, record, component } = it;
  const { ctx, brokers } = at;
  await at.create('orders');
  await record.follow(ctx, component, () => record.reached(ctx));
  await at.send(now('orders', 0, 30));
  await withAdmin(brokers, (admin) =>
    admin.deleteRecords({ topics: [{ name: 'orders', partitions: [{ partition: 0, offset: 10n }] }] }),
  );
  await record.follow(ctx, component, async () => {
    while (record.points.length < 2) await ctx.sleep(100);
    await at.send(now('orders', 0, 3));
    await record.reached(ctx);
  });
  const gap = '1: records were deleted before they were read: orders/0 from 0 to 9';
  assert.deepEqual(await stretchesOf(ctx, record), ['1: ranges', gap, '1: ranges']);
  const after = await moment(at, null);
  await assertBack(at, record, after, { target: { kind: 'latest' } });
  const [before] = record.points;
  const beyond = chainOf(ctx, record, { kind: 'time', at: after.at }, before?.point);
  await assert.rejects(beyond, { code: 'missing' });
});

test('a journal that does not go on from the point is refused before anything is changed', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  await using it = await scene();
  const { at, record, component } = it;
  const { ctx, brokers } = at;
  await at.create('orders');
  await record.follow(ctx, component, async () => {
    await record.reached(ctx);
    await at.send(now('orders', 0, 3));
    await record.reached(ctx);
    await at.send(now('orders', 0, 3));
    await record.reached(ctx);
  });
  const { base, replay } = await chainOf(ctx, record, { kind: 'latest' });
  async function* without(within: Context) {
    let logs = 0;
    for await (const range of replay.ranges(within))
      if (readRange(range).head.logs.length === 0 || ++logs > 1) yield range;
  }
  const chain = { base, replay: { ...replay, ranges: without } };
  const refused = { code: 'missing', message: /orders\/0 from offset 0 to 2 are neither in the point nor/ };
  await assert.rejects(component.restore(ctx, chain, { rename: { orders: 'orders-back' } }), refused);
  await withAdmin(brokers, async (admin) => assert.deepEqual(await admin.listTopics(), ['orders']));
  const named = { ...replay, target: { kind: 'name', value: 'x' } } as const;
  await assert.rejects(component.restore(ctx, { base, replay: named }), { code: 'usage' });
});
