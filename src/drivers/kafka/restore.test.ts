// What is special about Kafka: offsets that change, transactions, compaction, time, and what is suspended meanwhile.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Consumer } from '@platformatic/kafka';
import { needServer } from '../../../test/servers/need.ts';
import { until } from '../../../test/servers/processes.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, InventoryLine, RestoreOptions, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { kafkaDriver } from './driver.ts';
import { commitOffsets, offsetsOfGroup } from './groups.ts';
import { suspendedTopics } from './suspended.ts';
import {
  type BinaryMessage,
  messages,
  onCluster,
  removeEverything,
  sharedServers,
  TIME,
  withAdmin,
  withProducer,
} from './testing.ts';
import { configsOf, endsOf } from './topics.ts';

const servers = sharedServers();
after(() => servers[Symbol.asyncDispose]());

interface Stage {
  readonly ctx: Context;
  readonly brokers: string;
  create(topic: string, configs?: Readonly<Record<string, string>>, partitions?: number): Promise<void>;
  send(all: readonly BinaryMessage[]): Promise<void>;
  inTransaction(all: readonly BinaryMessage[], end: 'commit' | 'abort' | 'leave open'): Promise<void>;
  /** Of all topics that match. */
  capture(topics: string): Promise<{ source: Source; warnings: readonly string[]; lines: InventoryLine[] }>;
}

async function stage(): Promise<Stage> {
  const { brokers } = await servers.server('kafka-4');
  const ctx = liveContext();
  await removeEverything(brokers);
  return {
    ctx,
    brokers,
    async create(topic, configs = {}, partitions = 1) {
      const entries = Object.entries(configs).map(([name, value]) => ({ name, value }));
      await withAdmin(brokers, (admin) =>
        admin.createTopics({ topics: [topic], partitions, replicas: 1, configs: entries }),
      );
      await isThere(ctx, brokers, topic, { configs, partitions });
    },
    async send(all) {
      await withProducer(brokers, (producer) => producer.send({ messages: [...all] }));
    },
    async inTransaction(all, end) {
      const id = `test-${crypto.randomUUID()}`;
      await withProducer(
        brokers,
        async (producer) => {
          const transaction = await begun(() => producer.beginTransaction());
          await transaction.send({ messages: [...all] });
          if (end === 'commit') await transaction.commit();
          if (end === 'abort') await transaction.abort();
        },
        id,
      );
      if (end !== 'leave open') await ended(ctx, brokers, all[0]?.topic ?? '');
    },
    async capture(topics) {
      const { sink, source } = memoryParts();
      const { warnings } = await kafkaDriver.open({ brokers, topics: [topics] }).capture(ctx, sink);
      return { source, warnings, lines: await inventory(ctx, brokers, topics) };
    },
  };
}

/** The first one of a cluster has to wait for its coordinator. */
async function begun<T>(begin: () => Promise<T>): Promise<T> {
  let transaction: T | undefined;
  await until('transactions', 30_000, async () => {
    transaction = await begin().catch(() => undefined);
    return transaction !== undefined;
  });
  return transaction as T;
}

/** Brokers learn of it after the answer of the controller. */
async function isThere(
  ctx: Context,
  brokers: string,
  topic: string,
  { configs, partitions }: { configs: object; partitions: number },
): Promise<void> {
  await onCluster(ctx, { brokers }, async (cluster) => {
    await until(`topic ${topic}`, 30_000, async () => {
      const made = (await cluster.refresh(ctx)).topics.get(topic)?.partitions ?? [];
      if (made.length < partitions || made.some(({ leader }) => leader < 0)) return false;
      return isDeepStrictEqual((await configsOf(ctx, cluster, [topic])).get(topic), configs);
    });
  });
}

/** The mark of its end is written after the answer. */
async function ended(ctx: Context, brokers: string, topic: string): Promise<void> {
  await onCluster(ctx, { brokers, topics: [topic] }, async (cluster) => {
    const { topics } = cluster.layout();
    await until('the mark of a transaction’s end', 30_000, async () => {
      const ends = await endsOf(
        ctx,
        cluster,
        [...topics.values()].filter(({ name }) => name === topic),
      );
      return ends.get(topic)?.every(({ stable, high }) => stable === high) ?? false;
    });
  });
}

async function inventory(ctx: Context, brokers: string, topics: string): Promise<InventoryLine[]> {
  const reader = await kafkaDriver.open({ brokers, topics: [topics] }).inventory(ctx);
  return await Array.fromAsync(reader.lines(ctx));
}

function partition(lines: readonly InventoryLine[], name: string): readonly unknown[] {
  const { count, digest } = lines.find((line) => line.kind === 'partition' && line.name === name) ?? {};
  return [count, digest];
}

/** Beside the topics, under names with -back. */
async function restoreBeside(
  { ctx, brokers }: Stage,
  source: Source,
  names: readonly string[],
  options: RestoreOptions = {},
) {
  const rename = Object.fromEntries(names.map((name) => [name, `${name}-back`]));
  return await kafkaDriver.open({ brokers }).restore(ctx, { base: source }, { ...options, rename });
}

test('groups go on at the record at which they stood, though its offset changed (fault 42)', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  await at.create('paid');
  await at.send(messages('paid', 0, 5)); // offsets 0 to 4
  await at.inTransaction(messages('paid', 0, 3, 100), 'abort'); // 5 to 7, and the mark 8
  await at.inTransaction(messages('paid', 0, 4, 5), 'commit'); // 9 to 12, and the mark 13
  await at.send(messages('paid', 0, 2, 9)); // 14 and 15
  const committed = { early: 3, within: 11, after: 14, end: 16 };
  await onCluster(ctx, { brokers }, async (cluster) => {
    for (const [group, offset] of Object.entries(committed)) {
      const refused = await commitOffsets(ctx, cluster, group, [
        { topic: 'paid', partition: 0, offset, metadata: group },
      ]);
      assert.deepEqual(refused, []);
    }
  });
  const { source, lines, warnings } = await at.capture('paid');
  assert.deepEqual(warnings, []);
  assert.equal(partition(lines, 'paid/0')[0], 11);
  const restored = await restoreBeside(at, source, ['paid']);
  assert.deepEqual(restored.missing, []);
  const alone = await restored.inventory?.(ctx);
  assert.ok(alone);
  const findings = await Array.fromAsync(kafkaDriver.compare(ctx, inventoryOf(source), alone));
  assert.equal(findings.length, 6);
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
    'named as in the point',
  );
  assert.deepEqual(partition(await inventory(ctx, brokers, 'paid-back'), 'paid-back/0'), partition(lines, 'paid/0'));
  const expected = { early: 3, within: 7, after: 9, end: 11 };
  await onCluster(ctx, { brokers }, async (cluster) => {
    for (const [group, offset] of Object.entries(expected)) {
      const found = (await offsetsOfGroup(ctx, cluster, group)).find(({ topic }) => topic === 'paid-back');
      assert.deepEqual([found?.offset, found?.metadata], [offset, group], group);
    }
  });
});

test('checks and references ask for records and for how far groups are behind', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  await at.create('asked', {}, 2);
  await at.send(messages('asked', 0, 3));
  await at.inTransaction(messages('asked', 0, 2, 3), 'abort'); // offsets 3 and 4, and the mark 5
  await at.send([...messages('asked', 0, 1, 5), ...messages('asked', 1, 2)]);
  await onCluster(ctx, { brokers }, (cluster) =>
    commitOffsets(ctx, cluster, 'asking', [{ topic: 'asked', partition: 0, offset: 2, metadata: '' }]),
  );
  const component = kafkaDriver.open({ brokers });
  const names = await Array.fromAsync(component.names(ctx, 'asked'));
  assert.deepEqual(names.sort(), ['0/0', '0/1', '0/2', '0/6', '1/0', '1/1']);
  const asked = ['0/6', '0/3', '1/1', '1/2', '9/0', 'x'];
  assert.deepEqual(await component.holds(ctx, 'asked', asked), [true, false, true, false, false, false]);
  assert.deepEqual([await component.measure(ctx, 'records asked'), await component.measure(ctx, 'lag asking')], [6, 5]);
  await assert.rejects(component.measure(ctx, 'records nothing'), { code: 'missing' });
  await assert.rejects(component.measure(ctx, 'drop asked'), { code: 'query-failed' });
});

test('an open transaction is named and not captured, nor what came after its first record', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  await at.create('open');
  await at.send(messages('open', 0, 6));
  await at.inTransaction(messages('open', 0, 2, 6), 'leave open');
  await at.send(messages('open', 0, 2, 8));
  const { warnings, lines } = await at.capture('open');
  assert.equal(partition(lines, 'open/0')[0], 6);
  assert.match(warnings.join(), /open\/0: a transaction of producer \d+ is open from offset 6/);
});

test('what deletes or rewrites by age is listed, suspended while it loads, and set back', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  const configs = {
    'cleanup.policy': 'compact,delete',
    'message.timestamp.type': 'LogAppendTime',
    'retention.bytes': '1000000000',
    'retention.ms': '86400000',
    'min.insync.replicas': '1',
  };
  await at.create('aging', configs);
  await at.send(messages('aging', 0, 10));
  const { source, lines } = await at.capture('aging');
  const component = kafkaDriver.open({ brokers });
  const told = (await component.ageing?.(ctx, { base: source }))?.join('\n') ?? '';
  for (const word of ['after 1 day', '1000000000 bytes', 'last record of each key', 'time at which they come']) {
    assert.ok(told.includes(word), `${word}: ${told}`);
  }
  const restored = await restoreBeside(at, source, ['aging']);
  await onCluster(ctx, { brokers }, async (cluster) => {
    const { 'retention.ms': ms, 'cleanup.policy': policy } =
      (await configsOf(ctx, cluster, ['aging-back'])).get('aging-back') ?? {};
    assert.deepEqual([ms, policy], ['-1', 'delete']);
  });
  const suspended = (await component.probe(ctx)).findings.find(({ check }) => check.includes('without retention'));
  assert.match(suspended?.detail ?? '', /aging-back/);
  const now = await inventory(ctx, brokers, 'aging-back');
  assert.deepEqual(partition(now, 'aging-back/0'), partition(lines, 'aging/0'), 'with the times that the broker gave');
  await restored.settle?.(ctx);
  await restored.settle?.(ctx);
  await onCluster(ctx, { brokers }, async (cluster) => {
    assert.deepEqual((await configsOf(ctx, cluster, ['aging-back'])).get('aging-back'), configs);
    assert.equal((await suspendedTopics(ctx, cluster)).size, 0);
  });
});

test('compacted topics come back with their gaps closed and their tombstones', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  await at.create('state', {
    'cleanup.policy': 'compact',
    'segment.ms': '100',
    'min.cleanable.dirty.ratio': '0.01',
    'delete.retention.ms': '86400000',
  });
  const now = Date.now();
  const keyed = (n: number, value: Buffer | null): BinaryMessage => {
    return {
      topic: 'state',
      partition: 0,
      key: Buffer.from(`k${n % 5}`),
      value,
      timestamp: BigInt(now - 3_600_000 + n),
    };
  };
  await at.send(Array.from({ length: 50 }, (_, n) => keyed(n, Buffer.from(`v${n}`))));
  await at.send([keyed(3, null)]);
  const refused = await onCluster(ctx, { brokers }, (cluster) =>
    commitOffsets(ctx, cluster, 'reader', [{ topic: 'state', partition: 0, offset: 48, metadata: '' }]),
  );
  assert.deepEqual(refused, []);
  for (let n = 0, left = 51; left > 10; n++) {
    assert.ok(n < 240, 'the broker compacts');
    // It is so much later that it closes the segment.
    await at.send([{ ...keyed(1_000 * (n + 1), Buffer.from('again')), key: Buffer.from('other') }]);
    await ctx.sleep(100);
    left = Number(partition(await inventory(ctx, brokers, 'state'), 'state/0')[0]) - n;
  }
  const { source, lines } = await at.capture('state');
  const restored = await restoreBeside(at, source, ['state']);
  assert.deepEqual(restored.missing, []);
  assert.deepEqual(partition(await inventory(ctx, brokers, 'state-back'), 'state-back/0'), partition(lines, 'state/0'));
});

test('a restore that is stopped leaves no topics that are half filled', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  await at.create('half', {}, 3);
  await at.send([0, 1, 2].flatMap((n) => messages('half', n, 5)));
  const { source } = await at.capture('half');
  const stop = new AbortController();
  const ctx = liveContext({ signal: stop.signal });
  const stopping: Source = {
    ...source,
    async *get(c, name, range) {
      if (name.endsWith('.log')) stop.abort();
      yield* source.get(c, name, range);
    },
  };
  await assert.rejects(restoreBeside({ ...at, ctx }, stopping, ['half']), { code: 'interrupted' });
  const left = await withAdmin(at.brokers, (admin) => admin.listTopics());
  assert.deepEqual(
    left.filter((name) => !name.startsWith('__')),
    ['half'],
  );
  await onCluster(at.ctx, { brokers: at.brokers }, async (cluster) => {
    assert.equal((await suspendedTopics(at.ctx, cluster)).size, 0);
  });
});

test('a time range brings back its records only, and groups stand at the first that came back', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  await at.create('clock');
  await at.send(messages('clock', 0, 60));
  await onCluster(ctx, { brokers }, (cluster) =>
    commitOffsets(ctx, cluster, 'reader', [{ topic: 'clock', partition: 0, offset: 25, metadata: '' }]),
  );
  const { source } = await at.capture('clock');
  const since = new Date(TIME + 20_000).toISOString();
  const until = new Date(TIME + 40_000).toISOString();
  await restoreBeside(at, source, ['clock'], { select: { since, until } });
  await at.create('by-hand');
  await at.send(messages('clock', 0, 20, 20).map((each) => ({ ...each, topic: 'by-hand' })));
  const [back, byHand] = [await inventory(ctx, brokers, 'clock-back'), await inventory(ctx, brokers, 'by-hand')];
  assert.equal(partition(back, 'clock-back/0')[0], 20);
  assert.deepEqual(partition(back, 'clock-back/0'), partition(byHand, 'by-hand/0'));
  const offsets = await onCluster(ctx, { brokers }, (cluster) => offsetsOfGroup(ctx, cluster, 'reader'));
  assert.equal(offsets.find(({ topic }) => topic === 'clock-back')?.offset, 5);
});

test('what the target can not have is told: fewer replicas, settings that it does not know', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  await at.create('chosen', { 'segment.bytes': '20000000' });
  await at.create('left');
  await at.send([...messages('chosen', 0, 3), ...messages('left', 0, 3)]);
  const { sink, source } = memoryParts();
  await kafkaDriver.open({ brokers }).capture(ctx, sink);
  const larger: Source = {
    ...source,
    async *get(c, name, range) {
      if (name !== 'cluster.json') return yield* source.get(c, name, range);
      const text = (await readAll(source.get(c, name))).toString('utf8');
      const other = '"configs":{"no.such.setting":"7",';
      yield Buffer.from(
        text.replaceAll('"replication_factor":1', '"replication_factor":3').replace('"configs":{"', `${other}"`),
      );
    },
  };
  const options = { select: { topics: ['cho*'] }, rename: { chosen: 'chosen-back' } };
  const restored = await kafkaDriver.open({ brokers }).restore(ctx, { base: larger }, options);
  assert.deepEqual(restored.warnings, ['topic chosen-back has 1 replicas instead of 3: no more brokers']);
  assert.deepEqual(restored.missing, ['no.such.setting=7 of topic chosen-back: these brokers have no such setting']);
  await restored.settle?.(ctx);
  await onCluster(ctx, { brokers }, async (cluster) => {
    const there = [...(await cluster.refresh(ctx)).topics.keys()].filter((name) => !name.startsWith('__'));
    assert.deepEqual(there.sort(), ['chosen', 'chosen-back', 'left'], 'only what was chosen came back');
    const configs = (await configsOf(ctx, cluster, ['chosen-back'])).get('chosen-back');
    assert.deepEqual(configs, { 'segment.bytes': '20000000' });
  });
});

test('groups whose consumers run are named before anything is changed', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  await at.create('busy');
  await at.send(messages('busy', 0, 3));
  await onCluster(ctx, { brokers }, (cluster) =>
    commitOffsets(ctx, cluster, 'workers', [{ topic: 'busy', partition: 0, offset: 2, metadata: '' }]),
  );
  const { source } = await at.capture('busy');
  const consumer = new Consumer({ clientId: 'test', groupId: 'workers', bootstrapBrokers: [brokers] });
  try {
    await consumer.joinGroup({});
    await assert.rejects(restoreBeside(at, source, ['busy']), { code: 'blocked', message: /workers/ });
  } finally {
    await consumer.close(true);
  }
  const left = await withAdmin(brokers, (admin) => admin.listTopics());
  assert.deepEqual(
    left.filter((name) => !name.startsWith('__')),
    ['busy'],
  );
});

test('records of 10 MB come back', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  await at.create('large', { 'max.message.bytes': '15000000' });
  const values = [10_000_000, 3, 10_000_000].map((size, n) => Buffer.alloc(size, `large ${n}`));
  for (const value of values) await at.send([{ topic: 'large', partition: 0, value, timestamp: BigInt(TIME) }]);
  const { source, lines } = await at.capture('large');
  await restoreBeside(at, source, ['large']);
  assert.deepEqual(
    partition(await inventory(at.ctx, at.brokers, 'large-back'), 'large-back/0'),
    partition(lines, 'large/0'),
  );
});

test('the next capture keeps what is complete and reads only what came since', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  const { ctx, brokers } = at;
  await at.create('grows');
  const large = (n: number): BinaryMessage => {
    return { topic: 'grows', partition: 0, value: Buffer.alloc(900_000, `${n}`), timestamp: BigInt(TIME + n) };
  };
  for (let n = 0; n < 24; n++) await at.send([large(n)]);
  const component = kafkaDriver.open({ brokers, topics: ['grows'] });
  const first = memoryParts();
  await component.capture(ctx, first.sink);
  await at.send([large(24)]);
  const kept: string[] = [];
  const read: string[] = [];
  const second = memoryParts('it', '2026-01-02-000000');
  let earlier = first.source;
  const watching: Sink = {
    ...second.sink,
    keep: async (c, name, from, meta) => {
      kept.push(name);
      return await second.sink.put(c, name, earlier.get(c, from.name), meta);
    },
    put: async (c, name, body, meta) => {
      read.push(name);
      return await second.sink.put(c, name, body, meta);
    },
  };
  await component.capture(ctx, watching, first.source);
  assert.equal(kept.length, 2, kept.join());
  assert.equal(read.filter((name) => name.endsWith('.log')).length, 1, read.join());
  await restoreBeside(at, second.source, ['grows']);
  const lines = await inventory(ctx, brokers, 'grows*');
  assert.equal(partition(lines, 'grows/0')[0], 25);
  assert.deepEqual(partition(lines, 'grows-back/0'), partition(lines, 'grows/0'));
  // Retention takes the first records; of the range that it cut, what is left is read again.
  await withAdmin(brokers, (admin) =>
    admin.deleteRecords({ topics: [{ name: 'grows', partitions: [{ partition: 0, offset: 3n }] }] }),
  );
  earlier = second.source;
  kept.length = 0;
  await component.capture(ctx, watching, second.source);
  assert.deepEqual(kept.length, 2, kept.join());
  // Another topic of the same name has other records at the same offsets.
  await removeEverything(brokers);
  await at.create('grows');
  for (let n = 0; n < 30; n++) await at.send([large(n + 50)]);
  kept.length = 0;
  await component.capture(ctx, watching, second.source);
  assert.deepEqual(kept, []);
});

test('records that retention takes before they are read are named', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  await at.create('first', {}, 12);
  await at.send(Array.from({ length: 12 }, (_, n) => messages('first', n, 2)).flat());
  await at.create('then');
  await at.send(messages('then', 0, 10));
  await at.send(messages('then', 0, 10, 10));
  const { sink } = memoryParts();
  const partitions = [{ partition: 0, offset: 10n }];
  let taking: Promise<unknown> | null = null;
  const slow: Sink = {
    ...sink,
    async put(c, name, body, meta) {
      taking ??= withAdmin(at.brokers, (admin) => admin.deleteRecords({ topics: [{ name: 'then', partitions }] }));
      await taking;
      return await sink.put(c, name, body, meta);
    },
  };
  const { warnings, totals } = await kafkaDriver.open({ brokers: at.brokers }).capture(at.ctx, slow);
  assert.deepEqual(warnings, ['then/0: offsets 0 to 9 were deleted before they were read']);
  assert.equal(totals.records, 24 + 10);
});

test('a topic that is deleted while it is read is left out, and named', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage();
  await at.create('going', {}, 12);
  await at.send(Array.from({ length: 12 }, (_, n) => messages('going', n, 2)).flat());
  await at.create('staying');
  await at.send(messages('staying', 0, 2));
  const { sink, source } = memoryParts();
  let deleting: Promise<unknown> | null = null;
  const slow: Sink = {
    ...sink,
    async put(c, name, body, meta) {
      deleting ??= withAdmin(at.brokers, (admin) => admin.deleteTopics({ topics: ['going'] }));
      await deleting;
      return await sink.put(c, name, body, meta);
    },
  };
  const component = kafkaDriver.open({ brokers: at.brokers });
  const { warnings, totals } = await component.capture(at.ctx, slow);
  assert.deepEqual(warnings, ['topic going was deleted while it was read: it is not captured']);
  assert.deepEqual([totals.topics, totals.records], [1, 2]);
  const { missing } = await restoreBeside(at, source, ['staying']);
  assert.deepEqual(missing, []);
});
