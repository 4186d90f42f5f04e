// A cluster with access control and encryption: what may not be read or written is said, never left out.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type Kafka, startKafka } from '../../../test/servers/kafka.ts';
import { missing } from '../../../test/servers/need.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { marked, markersComeAndGo, numbered } from '../marker-testing.ts';
import { kafkaDriver } from './driver.ts';
import type { Acl } from './facts.ts';
import { commitOffsets } from './groups.ts';
import { nameOfAcl, OPERATIONS } from './lines.ts';
import { createAcls, makeTopics, removeTopics, writerOf } from './making.ts';
import { produceBatch } from './protocol.ts';
import { refuse } from './refusals.ts';
import { builderOf } from './sealing.ts';
import { settle } from './suspended.ts';
import { type LossyProxy, lossyProxy, onCluster } from './testing.ts';
import { aclsOf } from './topics.ts';

const PASSWORD = 'canary-of-the-password';
const users = { admin: 'secret-of-the-admin', backup: PASSWORD, fresh: 'secret-of-the-new-one' };
const TOPIC = 2;
const GROUP = 3;
const CLUSTER = 4;
const LITERAL = 3;
const ALLOW = 3;
const DENY = 2;
const READ = OPERATIONS.indexOf('Read');

function allow(type: number, name: string, operation: number, permission = ALLOW, principal = 'User:backup'): Acl {
  const on = { resource_type: type, resource_name: name, pattern_type: LITERAL };
  return { ...on, principal, host: '*', operation, permission };
}

/** The commands of the page, ready to paste: those of a capture, and those that a restore needs besides. */
function rightsOfPage(block: number): Acl[] {
  const page = readFileSync('docs/drivers/kafka.md', 'utf8');
  const [, commands = ''] = [...page.matchAll(/```\n((?:kafka-acls\.sh .*\n)+)```/g)][block] ?? [];
  assert.notEqual(commands, '');
  return commands.trim().split('\n').flatMap(rightsOf);
}

/** What kafka-acls.sh would make of it. */
function rightsOf(command: string): Acl[] {
  const [, principal = ''] = / --allow-principal '?([^ ']+)/.exec(command) ?? [];
  const operations = [...command.matchAll(/ --operation (\w+)/g)].map(([, name = '']) => OPERATIONS.indexOf(name));
  const names = [...command.matchAll(/ --(topic|group) '?([^ ']+)|--(cluster)$/g)];
  assert.ok(operations.length > 0 && names.length > 0, command);
  return names.flatMap(([, kind, name = 'kafka-cluster']) => {
    const type = kind === 'topic' ? TOPIC : kind === 'group' ? GROUP : CLUSTER;
    return operations.map((operation) => allow(type, name, operation, ALLOW, principal));
  });
}

const skip = await missing('kafka-4');
describe('with access control', { skip }, () => {
  let kafka: Kafka;
  let proxy: LossyProxy;
  const signedIn = (username: keyof typeof users, password: string = users[username]) => {
    const mechanism = username === 'admin' ? 'PLAIN' : 'SCRAM-SHA-512';
    const tls = { ca_file: kafka.caFile ?? '' };
    return { brokers: kafka.brokers, tls, sasl: { mechanism, username, password }, timeout: '5s' };
  };
  before(async () => {
    proxy = await lossyProxy();
    // It forgets at once who wrote records that are old, as any broker does when it starts.
    const forgetful = 'producer.id.expiration.check.interval.ms=10';
    const properties = [`advertised.listeners=OUTSIDE://127.0.0.1:${proxy.port}`, forgetful];
    kafka = await startKafka('kafka-4', { users, tls: true, properties });
    proxy.target = kafka.port;
    const ctx = liveContext();
    await onCluster(ctx, signedIn('admin'), async (cluster) => {
      const refused = await createAcls(ctx, cluster, [...rightsOfPage(0), allow(TOPIC, 'secret', READ, DENY)]);
      assert.deepEqual(
        refused.filter((each) => each !== null),
        [],
      );
      const topics = ['open', 'secret'].map((name) => ({
        ...{ name, target: name, id: '', replication_factor: 1, configs: {} },
        partitions: [{ partition: 0, start: 0, end: 0 }] as [{ partition: number; start: number; end: number }],
      }));
      await makeTopics(ctx, cluster, topics, new Set());
      await settle(ctx, cluster, ['open', 'secret']);
      const writer = await writerOf(ctx, cluster);
      for (const topic of ['open', 'secret']) {
        const builder = builderOf(0, 1000);
        for (let n = 0; n < 50; n++) {
          // no key, a value of three bytes, no headers
          const data = Buffer.from([1, 6, 97, 98, 99, 0]);
          builder.add(data, { offset: n, time: 1000 + n, timeHigh: 0, timeLow: 1000 + n, from: 0, to: data.length });
        }
        const { bytes } = builder.seal(writer, 0);
        await cluster.onLeader(ctx, { topic, partition: 0 }, 'write', async (connection) => {
          const { errorCode, message } = await produceBatch(connection, { topic, partition: 0 }, bytes, 5_000);
          refuse(errorCode, message);
        });
      }
    });
  });
  after(async () => {
    await kafka[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  });

  test('a topic that may not be read fails the capture with its name, and doctor finds it', async () => {
    const ctx = liveContext();
    const component = kafkaDriver.open(signedIn('backup'));
    const { findings } = await component.probe(ctx);
    const wrong = findings.filter(({ verdict }) => verdict !== 'pass');
    assert.deepEqual(
      wrong.map(({ check, detail }) => `${check}: ${detail}`),
      ['the user may Read on every topic: not so: secret'],
    );
    await assert.rejects(component.capture(ctx, memoryParts().sink), { code: 'privileges', message: /secret/ });
    const { sink, source } = memoryParts();
    const without = kafkaDriver.open({ ...signedIn('backup'), exclude: ['secret'] });
    const { totals, warnings } = await without.capture(ctx, sink);
    assert.deepEqual([totals.topics, totals.records, totals.acls, warnings], [1, 50, 5, []]);
    const lines = await Array.fromAsync(inventoryOf(source).lines(ctx));
    assert.ok(
      lines.some(({ kind, name }) => kind === 'acl' && name === 'User:backup may not Read topic secret from *'),
    );
    assert.ok(!JSON.stringify([lines, totals, findings, ctx.logged]).includes(PASSWORD));
  });

  test('a marker that may not be written is told, and the rights of the page for it suffice', async () => {
    const ctx = liveContext();
    const component = marked(kafkaDriver.open({ ...signedIn('backup'), exclude: ['secret'] }));
    await assert.rejects(component.mark(ctx, numbered(1)), {
      code: 'privileges',
      message: /lifeboat\.marker/,
      hint: /docs\/drivers\/kafka\.md/,
    });
    await onCluster(ctx, signedIn('admin'), (cluster) => createAcls(ctx, cluster, rightsOfPage(2)));
    const where = 'topic lifeboat.marker';
    await markersComeAndGo(ctx, component, { where, removed: [where] });
  });

  test('doctor names each right that is not there, with the command that grants it', async () => {
    const ctx = liveContext();
    const component = kafkaDriver.open({ ...signedIn('fresh'), topics: ['open'] });
    const granted: string[] = [];
    for (let round = 0; round < 5; round++) {
      const { findings } = await component.probe(ctx);
      const wrong = findings.filter(({ verdict }) => verdict !== 'pass');
      const commands = wrong.map(({ hint = '' }) => hint.slice(hint.indexOf('kafka-acls.sh')));
      await onCluster(ctx, signedIn('admin'), (cluster) => createAcls(ctx, cluster, commands.flatMap(rightsOf)));
      granted.push(...wrong.map(({ check }) => check));
    }
    assert.deepEqual(granted, [
      'the topics that are named are there',
      'the user may Describe every group',
      'the user may Describe the cluster',
      'the user may Read on every topic',
      'the user may DescribeConfigs on every topic',
    ]);
    const { totals, warnings } = await component.capture(ctx, memoryParts().sink);
    assert.deepEqual([totals.records, warnings], [50, []]);
  });

  test('offsets that are refused, topics that may not be made and wrong passwords are told (fault 42)', async () => {
    const ctx = liveContext();
    const { sink, source } = memoryParts();
    await onCluster(ctx, signedIn('admin'), (cluster) =>
      commitOffsets(ctx, cluster, 'reader', [{ topic: 'open', partition: 0, offset: 20, metadata: '' }]),
    );
    const ofTopic = allow(TOPIC, 'open', READ, ALLOW, 'User:shop');
    await onCluster(ctx, signedIn('admin'), (cluster) => createAcls(ctx, cluster, [ofTopic]));
    await kafkaDriver.open({ ...signedIn('admin'), topics: ['open'] }).capture(ctx, sink);
    const options = { rename: { open: 'open-back' } };
    await assert.rejects(kafkaDriver.open(signedIn('backup')).restore(ctx, { base: source }, options), {
      code: 'privileges',
    });
    await onCluster(ctx, signedIn('admin'), async (cluster) => {
      const own = rightsOfPage(1).filter(({ resource_type: type, operation }) => type !== GROUP || operation !== READ);
      await createAcls(ctx, cluster, [...own, allow(GROUP, 'lifeboat-suspended', READ)]);
    });
    const back = kafkaDriver.open({ ...signedIn('backup'), exclude: ['secret'] });
    const restored = await back.restore(ctx, { base: source }, options);
    assert.deepEqual(restored.missing, ['group reader stands at no offset in open-back/0 instead of 20']);
    await restored.settle?.(ctx);
    await onCluster(ctx, signedIn('admin'), (cluster) => createAcls(ctx, cluster, rightsOfPage(1)));
    const again = await back.restore(ctx, { base: source }, { ...options, replace: true });
    assert.deepEqual(again.missing, [], 'the rights of the page are enough');
    await again.settle?.(ctx);
    const { acls } = await onCluster(ctx, signedIn('admin'), (cluster) => aclsOf(ctx, cluster));
    assert.ok(acls.map(nameOfAcl).includes('User:shop may Read topic open-back from *'), 'lists come back');
    const wrong = kafkaDriver.open(signedIn('backup', 'wrong'));
    await assert.rejects(wrong.probe(ctx), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'denied');
      return !error.message.includes('wrong');
    });
  });

  for (const how of ['closed', 'silent'] as const) {
    test(`a connection that is ${how} in the middle is replaced, and no record is there twice (fault 13)`, async () => {
      const ctx = liveContext();
      const before = memoryParts();
      const { sink, source } = memoryParts('it', '2026-01-02-000000');
      const losing = (inner: Source, part: string): Source => ({
        ...inner,
        async *get(c, name, range) {
          if (name.endsWith(part)) proxy.loseNext(how);
          yield* inner.get(c, name, range);
        },
      });
      const brokers = `127.0.0.1:${proxy.port}`;
      const component = kafkaDriver.open({ ...signedIn('admin'), brokers, topics: ['open', 'onc?'], timeout: '3s' });
      await component.capture(ctx, before.sink);
      const lost = proxy.lost();
      const keeping: Sink = { ...sink, keep: (c, name) => sink.put(c, name, before.source.get(c, name)) };
      const { totals } = await component.capture(ctx, keeping, losing(before.source, 'cluster.json'));
      assert.deepEqual([proxy.lost() - lost, totals.records], [1, 50]);
      // That of CreateTopics is the next one, then one of Produce.
      const options = { rename: { open: 'once' }, replace: true, suspending: async () => proxy.loseNext(how) };
      await component.restore(ctx, { base: losing(source, '.log') }, options);
      assert.equal(proxy.lost() - lost, 3);
      const lines = await Array.fromAsync((await component.inventory(ctx)).lines(ctx));
      const counts = lines.filter(({ kind }) => kind === 'partition').map(({ count, digest }) => `${count} ${digest}`);
      assert.equal(counts.length, 2);
      assert.equal(new Set(counts).size, 1, counts.join());
      await withoutTopic(ctx, signedIn('admin'), 'once');
    });
  }
});

async function withoutTopic(ctx: Context, settings: object, topic: string): Promise<void> {
  await onCluster(ctx, settings, (cluster) => removeTopics(ctx, cluster, [topic]));
}
