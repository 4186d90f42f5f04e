// What could not be brought back is named, and the restore is not called done: exit 3, by the command itself. What a
// killed restore leaves is put right by the next command.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { Admin, Producer } from '@platformatic/kafka';
import { liveContext } from '../../src/core/testing.ts';
import type { Acl } from '../../src/drivers/kafka/facts.ts';
import { commitOffsets } from '../../src/drivers/kafka/groups.ts';
import { createAcls } from '../../src/drivers/kafka/making.ts';
import { onCluster } from '../../src/drivers/kafka/testing.ts';
import { configsOf } from '../../src/drivers/kafka/topics.ts';
import { request } from '../../src/drivers/zookeeper/protocol.ts';
import { make, openClient } from '../../src/drivers/zookeeper/testing.ts';
import { type Kafka, startKafka } from '../servers/kafka.ts';
import { missing, needServer } from '../servers/need.ts';
import { startOpenSearch } from '../servers/opensearch.ts';
import { startZookeeper } from '../servers/zookeeper.ts';
import { lifeboat } from './lifeboat.ts';
import { workspace } from './workspace.ts';

interface Restored {
  readonly verdict: string;
  readonly selected: boolean;
  readonly proved: readonly string[];
  readonly complete: boolean;
  readonly components: readonly { readonly name: string; readonly verdict: string; readonly findings: unknown }[];
}

const users = { admin: 'secret-of-the-admin', limited: 'secret-of-the-limited-one' };
const [TOPIC, GROUP, CLUSTER] = [2, 3, 4];
const [ALL, DESCRIBE] = [2, 8];

/** All that a restore needs but to Read one group: to commit its offsets is to read it. */
function limitedRights(): Acl[] {
  const allow = { principal: 'User:limited', host: '*', pattern_type: 3, permission: 3 };
  return [
    { ...allow, resource_type: TOPIC, resource_name: '*', operation: ALL },
    { ...allow, resource_type: CLUSTER, resource_name: 'kafka-cluster', operation: ALL },
    { ...allow, resource_type: GROUP, resource_name: 'lifeboat-suspended', operation: ALL },
    { ...allow, resource_type: GROUP, resource_name: 'billing', operation: ALL },
    { ...allow, resource_type: GROUP, resource_name: '*', operation: DESCRIBE },
  ];
}

const skip = await missing('kafka-4');
describe('kafka', { skip }, () => {
  const { dir, store, configure, run } = workspace('half-restored');
  const ctx = liveContext();
  const sasl = { mechanism: 'PLAIN', username: 'admin', password: users.admin } as const;
  const own = { 'retention.ms': '90000000000' };
  let kafka: Kafka;
  let admin: Admin;
  const configureFor = (user: keyof typeof users): void =>
    configure(`stack: shop
stores: { main: ${store('main')} }
components:
  events:
    kind: kafka
    brokers: ${kafka.brokers}
    sasl: { mechanism: PLAIN, username: ${user}, password: ${users[user]} }
`);
  before(async () => {
    kafka = await startKafka('kafka-4', { users });
    const client = { clientId: 'test', bootstrapBrokers: [kafka.brokers], sasl };
    admin = new Admin(client);
    const configs = Object.entries(own).map(([name, value]) => ({ name, value }));
    await admin.createTopics({ topics: ['orders'], partitions: 1, replicas: 1, configs });
    const producer = new Producer({ ...client, idempotent: true, autocreateTopics: false });
    const messages = ['a', 'b', 'c'].map((text) => ({ topic: 'orders', partition: 0, value: Buffer.from(text) }));
    await producer.send({ messages }).finally(() => producer.close());
    await onCluster(ctx, { brokers: kafka.brokers, sasl }, async (cluster) => {
      const place = { topic: 'orders', partition: 0, offset: 2, metadata: '' };
      for (const group of ['billing', 'shipping']) {
        assert.deepEqual(await commitOffsets(ctx, cluster, group, [place]), []);
      }
      const refused = await createAcls(ctx, cluster, limitedRights());
      assert.ok(refused.every((reason) => reason === null));
    });
    configureFor('admin');
    await run(0, 'init');
    await run(0, 'backup');
  });
  after(async () => {
    await admin.close();
    await kafka[Symbol.asyncDispose]();
  });

  test('a group whose offsets the user may not set is named', async () => {
    await admin.deleteTopics({ topics: ['orders'] });
    configureFor('limited');
    const ran = await run(3, 'restore', 'latest', '--yes', '--json');
    const { complete, components } = ran.json() as Restored;
    assert.equal(complete, false);
    assert.deepEqual(
      components.map(({ name, verdict }) => `${name} ${verdict}`),
      ['events fail'],
    );
    const findings = JSON.stringify(components[0]?.findings);
    assert.match(findings, /group shipping stands at no offset in orders\/0 instead of 2/);
    assert.doesNotMatch(findings, /group billing stands/);
    configureFor('admin');
    const again = await run(0, 'restore', 'latest', '--yes', '--in-place', '--json');
    assert.equal((again.json() as Restored).complete, true, 'with the right to it');
  });

  test('the next backup sets back what a restore that was killed had suspended', async () => {
    await onCluster(ctx, { brokers: kafka.brokers, sasl }, async (cluster) => {
      const settings = async (): Promise<unknown> => {
        const { topics } = await cluster.refresh(ctx);
        return topics.has('orders') ? (await configsOf(ctx, cluster, ['orders'])).get('orders') : undefined;
      };
      const isSuspended = async (): Promise<boolean> => JSON.stringify(await settings()).includes('"-1"');
      let isKilled = false;
      // It may be faster than we look.
      for (let attempt = 0; !isKilled && attempt < 5; attempt++) {
        let watching: Promise<void> | undefined;
        const onStart = (child: ChildProcess): void => {
          watching = (async () => {
            while (child.exitCode === null && !(await isSuspended().catch(() => false))) await ctx.sleep(2);
            child.kill('SIGKILL');
          })();
        };
        await lifeboat(['restore', 'latest', '--yes', '--in-place'], { cwd: dir, onStart });
        await watching;
        isKilled = await isSuspended();
      }
      assert.ok(isKilled);
      const { stdout, stderr } = await run(0, 'backup');
      assert.match(stdout + stderr, /events: what an earlier restore had suspended is set back/);
      assert.deepEqual(await settings(), own);
    });
  });
});

test('elasticsearch: documents that the server keeps no source of are named', async (t) => {
  if (!(await needServer(t, 'opensearch-2'))) return;
  const { store, configure, run } = workspace('half-restored-search');
  await using search = await startOpenSearch('opensearch-2');
  const ask = async (method: string, path: string, body?: object): Promise<unknown> => {
    const headers = { 'content-type': 'application/json' };
    const reply = await fetch(search.url + path, { method, headers, body: body ? JSON.stringify(body) : null });
    assert.ok(reply.ok, `${method} ${path}: ${reply.status}`);
    return await reply.json();
  };
  await ask('PUT', '/without', { mappings: { _source: { enabled: false } } });
  for (const index of ['without', 'whole']) await ask('PUT', `/${index}/_doc/a?refresh=true`, { total: 1 });
  configure(`stack: shop
stores: { main: ${store('main')} }
components: { search: { kind: elasticsearch, url: "${search.url}" } }
`);
  await run(0, 'init');
  await run(0, 'backup');
  for (const index of ['without', 'whole']) await ask('DELETE', `/${index}`);
  const ran = await run(3, 'restore', 'latest', '--yes', '--json');
  const { complete, components } = ran.json() as Restored;
  assert.equal(complete, false);
  assert.match(JSON.stringify(components), /1 documents of without: the server had no _source/);
  assert.equal(((await ask('GET', '/whole/_count')) as { count: number }).count, 1);
});

test('zookeeper: a znode that the target does not take is named', async (t) => {
  if (!(await needServer(t, 'zookeeper-3.9'))) return;
  const { store, configure, run } = workspace('half-restored-zookeeper');
  const ctx = liveContext();
  await using source = await startZookeeper({ java: ['-Djute.maxbuffer=2097152'] });
  await using target = await startZookeeper();
  await using client = await openClient(ctx, { hosts: source.hosts });
  await make(client, '/shop', { data: 'of the shop' });
  await make(client, '/shop/larger', { data: Buffer.alloc(1_500_000, 'larger') });
  await make(client, '/shop/small', { data: 'small' });
  configure(`stack: shop
stores: { main: ${store('main')} }
components: { coordination: { kind: zookeeper, hosts: "${source.hosts}", root: /shop } }
`);
  await run(0, 'init');
  await run(0, 'backup');
  const to = `coordination=zookeeper://${target.hosts}/shop`;
  const ran = await run(3, 'restore', 'latest', '--yes', '--json', '--to', to);
  const { complete, components } = ran.json() as Restored;
  assert.equal(complete, false);
  assert.deepEqual(
    components.map(({ name, verdict }) => `${name} ${verdict}`),
    ['coordination fail'],
  );
  assert.match(JSON.stringify(components), /\/larger: 1500000 bytes are more than the server takes/);
  await using reader = await openClient(ctx, { hosts: target.hosts });
  const { body } = await reader.call('getData', '', request.read('/shop/small'));
  assert.equal(String(body.bytes()), 'small');
  // Of a part the answer is of that part: what did not fit is none of it.
  const place = (root: string) => ['--yes', '--json', '--to', `coordination=zookeeper://${target.hosts}${root}`];
  const part = await run(0, 'restore', 'latest', ...place('/part'), '--select', 'path=/shop/small');
  const { verdict, selected, complete: whole, proved } = part.json() as Restored;
  assert.deepEqual([verdict, selected, whole, proved], ['pass', true, true, []]);
  await run(3, 'restore', 'latest', ...place('/none'), '--select', 'path=/shop/none');
});
