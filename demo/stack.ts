// The whole stack: a shop over PostgreSQL, Redis, S3, OpenSearch, Kafka, ZooKeeper and Loki, all real, is backed up
// into one recovery point. The site is lost. On new, empty servers one command brings everything back.

import { writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { installed } from '../test/servers/install.ts';
import { startKafka } from '../test/servers/kafka.ts';
import { startLoki } from '../test/servers/loki.ts';
import { startOpenSearch } from '../test/servers/opensearch.ts';
import { startPostgres } from '../test/servers/postgres.ts';
import { startRedis } from '../test/servers/redis.ts';
import { startS3 } from '../test/servers/s3.ts';
import { startZookeeper } from '../test/servers/zookeeper.ts';
import { withDatabase } from './shop.ts';
import { countStack, fillStack, loseTheIndex, type Places, tradeOnTheStack } from './stack-shop.ts';
import { figures, say, stageIn, title } from './stage.ts';

const stage = stageIn('demo/out');
const { out, run } = stage;

title('1. Seven real servers');
const first = await stage.timed('start seven servers', startSite);
say(first.told);
stage.env = first.env;

title('2. A shop over all of them');
await stage.timed('fill', () => fillStack(first.places));
say(figures(await countStack(first.places)));

title('3. The configuration');
const yaml = configuration();
writeFileSync(join(out, 'lifeboat.yaml'), yaml);
writeFileSync(join(out, 'lifeboat.password'), 'a password for this demonstration only\n', { mode: 0o600 });
say(yaml.trimEnd());
await run(['init', '--yes'], 'init');
await run(['doctor'], 'doctor');

title('4. One recovery point of everything');
const full = await run(['backup'], 'backup');
await run(['verify', 'latest', '--read-data'], 'verify, all data read');

title('5. A day of business, and a second recovery point');
await tradeOnTheStack(first.places);
const before = await countStack(first.places);
const second = await run(['backup'], 'second backup');
stage.note('stored by the first backup', full.stored);
stage.note('stored by the second, thanks to dedup', second.stored);
await run(['show', 'latest'], 'show');

title('6. Disaster: the site is gone. New servers are there, and empty');
await first[Symbol.asyncDispose]();
await using site = await startSite();
say(site.told);
stage.env = site.env;
await run(['restore', 'latest', '--preview'], 'preview');
await run(['restore', 'latest', '--yes'], 'restore everything, compare with the inventories');
const after = await countStack(site.places);
const equal = JSON.stringify(before) === JSON.stringify(after);
say(`before: ${figures(before)}\nafter:  ${figures(after)}\n${equal ? 'equal' : 'NOT EQUAL'}`);
if (!equal) throw new Error('what came back is not what was there');

title('7. An accident: the product index is deleted');
await loseTheIndex(site.places);
await run(['restore', 'latest', '--only', 'search', '--select', 'index=products', '--yes'], 'one index back');
const repaired = await countStack(site.places);
if (repaired.products_in_search !== before.products_in_search) throw new Error('the index did not come back');

title('8. The rehearsal: all of it again, in throw-away servers of the same versions');
await run(['drill', '--evidence', 'drill.md'], 'drill of the whole stack');

title('What it took');
stage.sum();
say(`\nLook at: ${join(out, 'lifeboat.yaml')}, ${join(out, 'drill.md')}, ${join(out, 'store')}`);
say('Everything that was started is ended.');

interface Site extends AsyncDisposable {
  readonly places: Places;
  /** What the configuration asks for, and where the programs lie. */
  readonly env: Readonly<Record<string, string>>;
  readonly told: string;
}

async function startSite(): Promise<Site> {
  await using started = new AsyncDisposableStack();
  const begun = [
    startPostgres(17),
    startRedis('redis-8'),
    startS3('minio'),
    startOpenSearch('opensearch-2'),
    startKafka('kafka-4'),
    startZookeeper(),
    startLoki(),
  ] as const;
  // One that does not start is told when the others can be ended.
  for (const each of await Promise.allSettled(begun)) if (each.status === 'fulfilled') started.use(each.value);
  const [postgres, redis, s3, search, kafka, zookeeper, loki] = await Promise.all(begun);
  const places: Places = {
    postgresUrl: postgres.url,
    shopUrl: withDatabase(postgres.url, 'shop'),
    redisUrl: redis.url,
    s3,
    searchUrl: search.url,
    brokers: kafka.brokers,
    zookeeper: zookeeper.hosts,
    lokiUrl: loki.url,
  };
  const programs = [redis.program, loki.program, await installed('minio'), await installed('opensearch-2')].map(
    dirname,
  );
  const held = started.move();
  return {
    places,
    env: {
      PATH: [postgres.bin, ...programs, process.env.PATH].join(delimiter),
      KAFKA_HOME: dirname(kafka.lib),
      ZOOKEEPER_HOME: dirname(zookeeper.lib),
      SHOP_DB: places.shopUrl,
      SHOP_CACHE: redis.url,
      SHOP_S3: s3.endpoint,
      AWS_ACCESS_KEY_ID: s3.accessKey,
      AWS_SECRET_ACCESS_KEY: s3.secretKey,
      SHOP_SEARCH: search.url,
      SHOP_KAFKA: kafka.brokers,
      SHOP_ZOOKEEPER: zookeeper.hosts,
      SHOP_LOKI: loki.url,
    },
    told: [
      `PostgreSQL 17 on port ${postgres.port}`,
      `Redis 8 on ${redis.port}`,
      `MinIO at ${s3.endpoint}`,
      `OpenSearch 2 at ${search.url}`,
      `Kafka 4 at ${kafka.brokers}`,
      `ZooKeeper 3.9 at ${zookeeper.hosts}`,
      `Loki 3 at ${loki.url}`,
    ].join(', '),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

function configuration(): string {
  return `stack: demo-shop
stores:
  local: { format: restic, bucket: ./store, password: "\${file:./lifeboat.password}" }
components:
  main-db: { kind: postgresql, url: "\${env:SHOP_DB}", tier: critical }
  cache:   { kind: redis, url: "\${env:SHOP_CACHE}", restore_after: [main-db] }
  objects: { kind: s3, endpoint: "\${env:SHOP_S3}", buckets: [{ name: invoices, versions: true }] }
  search:  { kind: elasticsearch, url: "\${env:SHOP_SEARCH}", restore_after: [main-db] }
  config:  { kind: zookeeper, hosts: "\${env:SHOP_ZOOKEEPER}", root: /shop }
  events:  { kind: kafka, brokers: "\${env:SHOP_KAFKA}", restore_after: [config] }
  logs:    { kind: loki, url: "\${env:SHOP_LOKI}", since: 3d }
tiers:
  critical: { rto: 1h, rpo: 15m }
references:
  - name: every invoice is there
    from: { component: main-db, sql: select object_key from invoices }
    to: { component: objects, in: invoices }
    orphans_max: 0
  - name: every product is found
    from: { component: main-db, sql: select id from products }
    to: { component: search, in: products }
    orphans_max: 0
plans:
  nightly: { schedule: "0 2 * * *", components: all, to: [local], ordering: references_first, keep: { within: 30d } }
`;
}
