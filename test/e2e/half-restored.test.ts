// What could not be brought back is named, and the restore is not called done: exit 3, by the command itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Admin, Producer } from '@platformatic/kafka';
import { liveContext } from '../../src/core/testing.ts';
import type { Acl } from '../../src/drivers/kafka/facts.ts';
import { commitOffsets } from '../../src/drivers/kafka/groups.ts';
import { createAcls } from '../../src/drivers/kafka/making.ts';
import { onCluster } from '../../src/drivers/kafka/testing.ts';
import { startKafka } from '../servers/kafka.ts';
import { needServer } from '../servers/need.ts';
import { startOpenSearch } from '../servers/opensearch.ts';
import { workspace } from './workspace.ts';

interface Restored {
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

test('kafka: a group whose offsets the user may not set is named', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const { store, configure, run } = workspace('half-restored');
  await using kafka = await startKafka('kafka-4', { users });
  const ctx = liveContext();
  const sasl = { mechanism: 'PLAIN', username: 'admin', password: users.admin } as const;
  const client = { clientId: 'test', bootstrapBrokers: [kafka.brokers], sasl };
  await using closing = new AsyncDisposableStack();
  const admin = new Admin(client);
  closing.defer(() => admin.close());
  await admin.createTopics({ topics: ['orders'], partitions: 1, replicas: 1 });
  const producer = new Producer({ ...client, idempotent: true, autocreateTopics: false });
  closing.defer(() => producer.close());
  const messages = ['a', 'b', 'c'].map((text) => ({ topic: 'orders', partition: 0, value: Buffer.from(text) }));
  await producer.send({ messages });
  await onCluster(ctx, { brokers: kafka.brokers, sasl }, async (cluster) => {
    const place = { topic: 'orders', partition: 0, offset: 2, metadata: '' };
    for (const group of ['billing', 'shipping']) {
      assert.deepEqual(await commitOffsets(ctx, cluster, group, [place]), []);
    }
    const refused = await createAcls(ctx, cluster, limitedRights());
    assert.ok(refused.every((reason) => reason === null));
  });
  const configuration = (user: keyof typeof users): string => `stack: shop
stores: { main: ${store('main')} }
components:
  events:
    kind: kafka
    brokers: ${kafka.brokers}
    sasl: { mechanism: PLAIN, username: ${user}, password: ${users[user]} }
`;
  configure(configuration('admin'));
  await run(0, 'init');
  await run(0, 'backup');
  await admin.deleteTopics({ topics: ['orders'] });
  configure(configuration('limited'));
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
  configure(configuration('admin'));
  const again = await run(0, 'restore', 'latest', '--yes', '--in-place', '--json');
  assert.equal((again.json() as Restored).complete, true, 'with the right to it');
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
