// Two components of the same data, and two that only look like it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { linted, replaced } from './linting-testing.ts';

type Case = readonly [title: string, ...components: string[]];

const APART: readonly Case[] = [
  ['two databases of one server', 'db: { kind: postgresql, host: db.internal, databases: [other], tier: critical }'],
  ['two databases in addresses', 'db: { kind: postgresql, url: "postgresql://u@db.internal/other", tier: critical }'],
  ['two servers', 'db: { kind: postgresql, host: db.internal, port: 5433, databases: [shop], tier: critical }'],
  ['two kinds', 'db: { kind: redis, host: db.internal, port: 5432, tier: critical }'],
  [
    'two buckets',
    'more: { kind: s3, endpoint: "http://minio.internal:9000", buckets: [{ name: avatars }], tier: standard }',
  ],
  [
    'two prefixes of one bucket',
    'a: { kind: s3, endpoint: "http://minio:9000", buckets: [{ name: invoices, prefix: a/ }], tier: standard }',
    'b: { kind: s3, endpoint: "http://minio:9000", buckets: [{ name: invoices, prefix: b/ }], tier: standard }',
  ],
  [
    'two references',
    `db: { kind: postgresql, host: "\${env:A}", databases: [shop], tier: critical }`,
    `more: { kind: postgresql, host: "\${env:B}", databases: [shop], tier: critical }`,
  ],
  [
    'what one of them leaves out',
    'a: { kind: files, paths: [/srv], exclude: [/srv/b], tier: standard }',
    'b: { kind: files, paths: [/srv/b], tier: standard }',
  ],
  [
    'what one of several names leaves out',
    'a: { kind: elasticsearch, url: "http://e:9200", indices: ["logs*", "-logs-b"], tier: standard }',
    'b: { kind: elasticsearch, url: "http://e:9200", indices: ["logs*"], tier: standard }',
  ],
  [
    'two directories, one of which begins like the other',
    'a: { kind: files, paths: [/srv/a], tier: standard }',
    'b: { kind: files, paths: [/srv/ab], tier: standard }',
  ],
  [
    'two subtrees',
    'a: { kind: zookeeper, hosts: "zk:2181/a", tier: standard }',
    'b: { kind: zookeeper, hosts: "zk:2181/b", tier: standard }',
  ],
  [
    'two tenants',
    'a: { kind: loki, url: "http://loki.internal", tenant: a, tier: standard }',
    'b: { kind: loki, url: "http://loki.internal", tenant: b, tier: standard }',
  ],
  [
    'two tenants, asked for the same',
    `a: { kind: loki, url: "http://loki.internal", tenant: a, selector: '{job="x"}', tier: standard }`,
    `b: { kind: loki, url: "http://loki.internal", tenant: b, selector: '{job="x"}', tier: standard }`,
  ],
];

/** The last of them is told. */
const TWICE: readonly Case[] = [
  ['all databases, and one', 'db: { kind: postgresql, host: db.internal, databases: all, tier: critical }', 'shop-db'],
  ['one in an address', 'db: { kind: postgresql, url: "postgresql://u@db.internal/shop", tier: critical }', 'shop-db'],
  [
    'the port that goes without saying',
    'db: { kind: postgresql, host: db.internal, port: 5432, databases: [shop], tier: critical }',
    'shop-db',
  ],
  [
    'all of two tenants that nobody named',
    'a: { kind: loki, url: "http://loki", tier: standard }',
    'b: { kind: loki, url: "http://loki", tier: standard }',
    'b',
  ],
  [
    'a Redis, which is captured whole whatever database an address has',
    'a: { kind: redis, url: "redis://r/0", tier: standard }',
    'b: { kind: redis, url: "redis://r/1", tier: standard }',
    'b',
  ],
  [
    'the same reference',
    `a: { kind: redis, url: "\${env:R}", tier: standard }`,
    `b: { kind: redis, url: "\${env:R}", tier: standard }`,
    'b',
  ],
  [
    'one of the brokers of another',
    'a: { kind: kafka, brokers: "k1:9092,k2:9092", tier: standard }',
    'b: { kind: kafka, brokers: "k2", tier: standard }',
    'b',
  ],
  [
    'a prefix of a bucket that is captured whole',
    'more: { kind: s3, endpoint: "http://minio.internal:9000", buckets: [{ name: invoices, prefix: a/ }], tier: standard }',
    'objects',
  ],
  [
    'a prefix within another',
    'a: { kind: s3, endpoint: "http://minio:9000", buckets: [{ name: invoices, prefix: a/b/ }], tier: standard }',
    'b: { kind: s3, endpoint: "http://minio:9000", buckets: [{ name: invoices, prefix: a/ }], tier: standard }',
    'b',
  ],
  [
    'one of several names',
    'a: { kind: elasticsearch, url: "http://e:9200", indices: [logs], tier: standard }',
    'b: { kind: elasticsearch, url: "http://e:9200", indices: [other, logs], tier: standard }',
    'b',
  ],
  [
    'all indices among other names',
    'a: { kind: elasticsearch, url: "http://e:9200", indices: ["*", other], tier: standard }',
    'b: { kind: elasticsearch, url: "http://e:9200", indices: [logs], tier: standard }',
    'b',
  ],
  [
    'a subtree of the whole',
    'a: { kind: zookeeper, hosts: "zk:2181", tier: standard }',
    'b: { kind: zookeeper, hosts: "zk:2181", root: /b, tier: standard }',
    'b',
  ],
  [
    'a subtree of an address',
    'a: { kind: zookeeper, hosts: "zk:2181/a", tier: standard }',
    'b: { kind: zookeeper, hosts: "zk:2181", root: /a/b, tier: standard }',
    'b',
  ],
  [
    'the root of all files',
    'a: { kind: files, paths: [/], tier: standard }',
    'b: { kind: files, paths: [/srv], tier: standard }',
    'b',
  ],
];

async function told(components: readonly string[]): Promise<readonly string[]> {
  const findings = await linted(
    replaced([['components:\n', `components:\n${components.map((each) => `  ${each}\n`).join('')}`]]),
  );
  return findings.filter(({ rule }) => rule === 'captured-twice').map(({ at }) => at.join('.'));
}

describe('captured-twice, not told:', () => {
  for (const [title, ...components] of APART) {
    test(title, async () => assert.deepEqual(await told(components), []));
  }
});

describe('captured-twice, told:', () => {
  for (const [title, ...rest] of TWICE) {
    const [name, ...components] = rest.toReversed();
    test(title, async () => assert.deepEqual(await told(components.toReversed()), [`components.${name}`]));
  }
});

test('captured-twice: each kind is told what tells its parts apart', async () => {
  const more = 'db: { kind: postgresql, host: db.internal, databases: all, tier: critical }';
  const [finding] = await linted(replaced([['components:\n', `components:\n  ${more}\n`]]));
  assert.equal(finding?.advice, 'leave one of them out, or let each have its own databases');
});
