// What is special about a restore into Kafka: offsets that change, compaction, time, and what is suspended meanwhile.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Consumer } from '@platformatic/kafka';
import { needServer } from '../../../test/servers/need.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Json, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { selectionFindings } from '../selection-testing.ts';
import { kafkaDriver } from './driver.ts';
import { commitOffsets, deleteOffsets, groupsOf, offsetsOfGroup } from './groups.ts';
import { inventory, partition, restoreBeside, stage, streamsGroup } from './stage-testing.ts';
import { alterConfigs, MARKER_GROUP, marksOf, settle, suspendedTopics } from './suspended.ts';
import { type BinaryMessage, messages, onCluster, sharedServers, TIME, withAdmin } from './testing.ts';
import { configsOf } from './topics.ts';

const servers = sharedServers();
after(() => servers[Symbol.asyncDispose]());

test('groups go on at the record at which they stood, though its offset changed (fault 42)', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  const { ctx, brokers } = at;
  await at.create('paid');
  await at.send(messages('paid', 0, 5)); // offsets 0 to 4
  await at.inTransaction(messages('paid', 0, 3, 100), 'abort'); // 5 to 7, and the mark 8
  await at.inTransaction(messages('paid', 0, 4, 5), 'commit'); // 9 to 12, and the mark 13
  await at.send(messages('paid', 0, 2, 9)); // 14 and 15
  const committed = { early: 3, within: 11, after: 14, end: 16, streams: 10 };
  await onCluster(ctx, { brokers }, async (cluster) => {
    await streamsGroup(ctx, cluster, 'streams', 'paid');
    const kinds = (await groupsOf(ctx, cluster)).map(({ group, protocol }) => `${group} ${protocol}`);
    assert.deepEqual(kinds, ['streams streams']);
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
  assert.equal(findings.length, 7);
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
    'named as in the point',
  );
  assert.deepEqual(partition(await inventory(ctx, brokers, 'paid-back'), 'paid-back/0'), partition(lines, 'paid/0'));
  const expected = { early: 3, within: 7, after: 9, end: 11, streams: 6 };
  await onCluster(ctx, { brokers }, async (cluster) => {
    for (const [group, offset] of Object.entries(expected)) {
      const found = (await offsetsOfGroup(ctx, cluster, group)).find(({ topic }) => topic === 'paid-back');
      assert.deepEqual([found?.offset, found?.metadata], [offset, group], group);
    }
  });
});

test('what deletes or rewrites by age is listed, suspended while it loads, and set back', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
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

test('what a killed restore has left suspended is set back, but for what others have set since', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  const { ctx, brokers } = at;
  const own = { 'cleanup.policy': 'compact', 'retention.ms': '86400000', 'segment.bytes': '20000000' };
  await at.create('killed', own);
  const { source } = await at.capture('killed');
  const notes: Json[] = [];
  await restoreBeside(at, source, ['killed'], { suspending: async (what) => void notes.push(what) });
  const component = kafkaDriver.open({ brokers });
  assert.deepEqual(notes, [{ topics: { 'killed-back': own } }]);
  await onCluster(ctx, { brokers }, async (cluster) => {
    // Marks expire, as any offset of a group without members.
    await deleteOffsets(ctx, cluster, MARKER_GROUP, [{ topic: 'killed-back', partition: 0 }]);
    await alterConfigs(ctx, cluster, 'killed-back', { 'retention.ms': '5000000' });
    await component.resume?.(ctx, notes[0] ?? null);
    const now = (await configsOf(ctx, cluster, ['killed-back'])).get('killed-back');
    assert.deepEqual(now, { ...own, 'retention.ms': '5000000' });
  });
});

test('a mark of what was suspended counts only while it still is, and one that is refused keeps no other', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  const { ctx, brokers } = at;
  for (const topic of ['left', 'bad', 'by-hand']) await at.create(topic, { 'retention.ms': '-1' });
  const component = kafkaDriver.open({ brokers });
  const suspended = async (): Promise<string | undefined> =>
    (await component.probe(ctx)).findings.find(({ check }) => check.includes('without retention'))?.detail;
  await onCluster(ctx, { brokers }, async (cluster) => {
    const marked = Object.entries({ left: '7000000', bad: 'soon', 'by-hand': '8000000' });
    const marks = marked.map(([topic, ms]) => ({
      ...{ topic, partition: 0, offset: 0, metadata: JSON.stringify({ 'retention.ms': ms }) },
    }));
    assert.deepEqual(await commitOffsets(ctx, cluster, MARKER_GROUP, marks), []);
    await alterConfigs(ctx, cluster, 'by-hand', { 'retention.ms': '9000000' });
    assert.equal(await suspended(), 'not so: bad, left');
    const { lines } = await at.capture('*');
    const retention = lines.filter(({ kind }) => kind === 'topic').map(({ detail }) => JSON.stringify(detail));
    for (const [n, ms] of ['soon', '9000000', '7000000'].entries()) assert.match(retention[n] ?? '', RegExp(`"${ms}"`));
    await assert.rejects(settle(ctx, cluster, ['bad', 'left', 'by-hand']), { message: /topic bad/, hint: /had: bad$/ });
    const now = await configsOf(ctx, cluster, ['left', 'by-hand']);
    assert.deepEqual(
      [...now.values()].map((each) => each['retention.ms']),
      ['7000000', '9000000'],
    );
    assert.deepEqual([...(await marksOf(ctx, cluster, await groupsOf(ctx, cluster))).keys()], ['bad']);
  });
  assert.equal(await suspended(), 'not so: bad');
});

test('compacted topics come back with their gaps closed and their tombstones', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
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
  const at = await stage(servers);
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

test('a topic that somebody else makes meanwhile stays when the restore fails', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  await at.create('ours');
  await at.create('theirs');
  await at.send([...messages('ours', 0, 3), ...messages('theirs', 0, 3)]);
  const { source } = await at.capture('*');
  // As brokers do that make a topic when a producer writes to it.
  const suspending = async (): Promise<void> => {
    await at.create('theirs-back');
    await at.send(messages('theirs-back', 0, 7));
  };
  const restoring = restoreBeside(at, source, ['ours', 'theirs'], { suspending });
  await assert.rejects(restoring, {
    code: 'target-not-empty',
    message: /names: theirs-back$/,
    hint: /stop who writes/,
  });
  const left = await inventory(at.ctx, at.brokers, '*');
  const topics = left.filter(({ kind }) => kind === 'topic').map(({ name }) => name);
  assert.deepEqual(topics, ['ours', 'theirs', 'theirs-back']);
  assert.equal(partition(left, 'theirs-back/0')[0], 7);
});

test('a time range brings back its records only, and groups stand at the first that came back', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  const { ctx, brokers } = at;
  await at.create('clock');
  await at.send(messages('clock', 0, 60));
  await onCluster(ctx, { brokers }, (cluster) =>
    commitOffsets(ctx, cluster, 'reader', [{ topic: 'clock', partition: 0, offset: 25, metadata: '' }]),
  );
  const { source } = await at.capture('clock');
  const since = new Date(TIME + 20_000).toISOString();
  const until = new Date(TIME + 40_000).toISOString();
  const restored = await restoreBeside(at, source, ['clock'], { select: { since, until } });
  assert.match(restored.selected?.uncompared ?? '', /records of a time range/);
  await restored.settle?.(ctx);
  const findings = await selectionFindings(ctx, kafkaDriver, source, restored);
  assert.deepEqual(
    findings.map(({ check, verdict }) => `${verdict}: ${check}`),
    ['pass: topic clock is the same'],
  );
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
  const at = await stage(servers);
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

test('chosen topics are compared with that part of the point, with their groups', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  const { ctx, brokers } = at;
  await at.create('chosen', {}, 2);
  await at.create('left');
  await at.send([...messages('chosen', 0, 3), ...messages('chosen', 1, 4), ...messages('left', 0, 3)]);
  await onCluster(ctx, { brokers }, async (cluster) => {
    const offsets = ['chosen', 'left'].map((topic) => ({ topic, partition: 0, offset: 2, metadata: '' }));
    assert.deepEqual(await commitOffsets(ctx, cluster, 'team/billing', offsets), []);
  });
  const { source } = await at.capture('*');
  const restored = await restoreBeside(at, source, ['chosen'], { select: { topics: ['cho*'] } });
  await restored.settle?.(ctx);
  assert.equal(restored.selected?.uncompared, null);
  const verdicts = async (): Promise<string[]> => {
    const findings = await selectionFindings(ctx, kafkaDriver, source, restored);
    return findings.map(({ check, verdict }) => `${verdict}: ${check.replace(' is the same', '')}`);
  };
  const group = 'pass: group team/billing/chosen/0';
  const second = 'pass: partition chosen/1';
  assert.deepEqual(await verdicts(), [group, 'pass: partition chosen/0', second, 'pass: topic chosen']);
  await at.send(messages('chosen', 0, 1, 3).map((each) => ({ ...each, topic: 'chosen-back' })));
  assert.deepEqual(await verdicts(), [group, 'fail: partition chosen/0', second, 'pass: topic chosen']);
});

test('groups whose consumers run are named before anything is changed', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
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
  const at = await stage(servers);
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
