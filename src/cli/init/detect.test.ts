import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromCompose, fromEnvironment } from './detect.ts';
import { withoutSecrets } from './template.ts';

test('an environment names its servers, and no secret is taken out of it', () => {
  const env = {
    DATABASE_URL: 'postgresql://u:hush@db/shop',
    REDIS_HOST: 'cache',
    REDIS_PORT: '6380',
    REDIS_PASSWORD: 'hush',
  };
  const found = fromEnvironment(env);
  assert.deepEqual(
    found.map(({ kind, settings }) => ({ kind, settings })),
    [
      { kind: 'postgresql', settings: { url: `\${env:DATABASE_URL}` } },
      { kind: 'redis', settings: { host: 'cache', port: 6380, password: `\${env:REDIS_PASSWORD}` } },
    ],
  );
  assert.ok(!JSON.stringify(found).includes('hush'));
});

test("the variables of PostgreSQL's own programs are understood", () => {
  const [found] = fromEnvironment({ PGHOST: 'db', PGUSER: 'backup', PGDATABASE: 'core', PGPORT: '5433' });
  assert.deepEqual(found?.settings, { host: 'db', port: 5433, user: 'backup', databases: ['core'] });
});

test('a compose file names its servers with the ports that it publishes', () => {
  const text = `
services:
  ait-postgres:
    image: docker.io/library/postgres:16-alpine
    environment: [POSTGRES_USER=aitcore, POSTGRES_DB=soriano_core, POSTGRES_PASSWORD=hush]
    ports: ["127.0.0.1:15432:5432"]
  ait-redis: { image: "redis:7", ports: ["6380:6379/tcp"] }
  web: { image: "nginx" }
`;
  const found = fromCompose(text, 'docker-compose.yml', {});
  assert.deepEqual(
    found.map(({ name, settings }) => [name, settings.host, settings.port]),
    [
      ['ait-postgres', 'localhost', 15432],
      ['ait-redis', 'localhost', 6380],
    ],
  );
  assert.ok(!JSON.stringify(found).includes('hush'));
  assert.throws(() => fromCompose('services: 7', 'x.yml', {}), { code: 'settings-invalid' });
});

test('variables of a compose file count as Compose counts them, and ports in their long form too', () => {
  const text = `
services:
  db:
    image: "postgres:\${PG_VERSION:-16}"
    environment:
      POSTGRES_USER: \${DB_USER:-shop}
      POSTGRES_DB: \${DB_NAME}
      POSTGRES_PASSWORD: \${DB_SECRET:-hush}
    ports: [{ target: 5432, published: "5433", protocol: tcp }]
  other: { image: postgres, environment: [POSTGRES_USER=$OTHER, POSTGRES_DB=a$$b], ports: ["\${PORT:-5434}:5432"] }
`;
  const [db, other] = fromCompose(text, 'compose.yml', { DB_USER: '', OTHER: 'me' });
  assert.deepEqual(db?.settings, {
    host: 'localhost',
    port: 5433,
    user: 'shop',
    password: `\${env:DB_SECRET}`,
    databases: [`\${env:DB_NAME}`],
  });
  assert.deepEqual([other?.settings.user, other?.settings.port, other?.settings.databases], ['me', 5434, ['a$b']]);
});

test('a variable that a compose file names without a value is the one of the environment', () => {
  const text = `
services:
  db: { image: postgres, environment: { POSTGRES_USER: null, POSTGRES_DB: null, POSTGRES_PASSWORD: null } }
  other: { image: postgres, environment: [POSTGRES_USER, POSTGRES_DB=a=b] }
`;
  const [db, other] = fromCompose(text, 'compose.yml', { POSTGRES_USER: 'shop' });
  assert.deepEqual(
    [db?.settings.user, db?.settings.databases, db?.settings.password],
    ['shop', [`\${env:POSTGRES_DB}`], `\${env:POSTGRES_PASSWORD}`],
  );
  assert.deepEqual([other?.settings.user, other?.settings.databases], ['shop', ['a=b']]);
});

test('each kind of service is known by the variables that name it', () => {
  const kinds = (env: Record<string, string>): unknown[] =>
    fromEnvironment(env).map(({ name, kind, settings }) => [name, kind, settings]);
  const ref = (name: string): string => `\${env:${name}}`;
  const minio = {
    MINIO_ENDPOINT: 'minio:9000',
    MINIO_ROOT_USER: 'hush',
    MINIO_ROOT_PASSWORD: 'hush',
    MINIO_BUCKET: 'up',
  };
  const keys = { access_key: ref('MINIO_ROOT_USER'), secret_key: ref('MINIO_ROOT_PASSWORD') };
  assert.deepEqual(kinds(minio), [['objects', 's3', { endpoint: 'http://minio:9000', buckets: ['up'], ...keys }]]);
  assert.deepEqual(kinds({ S3_ENDPOINT: 'https://s3', AWS_ACCESS_KEY_ID: 'hush' }), [
    ['objects', 's3', { endpoint: 'https://s3', access_key: ref('AWS_ACCESS_KEY_ID'), buckets: 'all' }],
  ]);
  assert.deepEqual(kinds({ ELASTICSEARCH_URL: 'https://elastic:hush@es:9200' }), [
    ['search', 'elasticsearch', { url: ref('ELASTICSEARCH_URL') }],
  ]);
  assert.deepEqual(kinds({ OPENSEARCH_URL: 'http://os:9200' }), [
    ['search', 'elasticsearch', { url: ref('OPENSEARCH_URL') }],
  ]);
  assert.deepEqual(kinds({ LOKI_ADDR: 'http://loki:3100', LOKI_ORG_ID: 'shop' }), [
    ['logs', 'loki', { url: 'http://loki:3100', tenant: 'shop' }],
  ]);
  const sasl = { KAFKA_SASL_USERNAME: 'hush', KAFKA_SASL_PASSWORD: 'hush' };
  assert.deepEqual(kinds({ KAFKA_BROKERS: 'SASL_SSL://a:9092,b:9092', ...sasl }), [
    [
      'events',
      'kafka',
      {
        brokers: 'a:9092,b:9092',
        sasl: { username: ref('KAFKA_SASL_USERNAME'), password: ref('KAFKA_SASL_PASSWORD') },
      },
    ],
  ]);
  assert.deepEqual(kinds({ ZOOKEEPER_CONNECT: 'zk1:2181,zk2:2181/app' }), [
    ['coordination', 'zookeeper', { hosts: 'zk1:2181,zk2:2181/app' }],
  ]);
  assert.deepEqual(kinds({ S3_BACKUP_BUCKET: 'points', AWS_ACCESS_KEY_ID: 'x' }), []);
});

test('each kind of service is known by its image, and what stands beside it is not taken for it', () => {
  const text = `
services:
  objects:
    image: quay.io/minio/minio:RELEASE.2025-04-22
    environment: { MINIO_ROOT_USER: shop, MINIO_ROOT_PASSWORD: "\${MINIO_SECRET}" }
    ports: ["19000:9000", "19001:9001"]
  weed: { image: "chrislusf/seaweedfs:4.48" }
  es: { image: "docker.elastic.co/elasticsearch/elasticsearch:8.17.0", environment: [ELASTIC_PASSWORD=hush] }
  es-open: { image: "elasticsearch:8.17.0", environment: [xpack.security.enabled=false], ports: ["19200:9200"] }
  os: { image: "opensearchproject/opensearch:3", environment: [DISABLE_SECURITY_PLUGIN=true] }
  os-safe: { image: "opensearchproject/opensearch:3" }
  logs: { image: "grafana/loki:3.5", ports: ["3100:3100"] }
  events:
    image: apache/kafka:4.3.1
    environment: { KAFKA_ADVERTISED_LISTENERS: "PLAINTEXT://events:19092,HOST://localhost:29092" }
  zk: { image: "confluentinc/cp-zookeeper:7.9", environment: { ZOOKEEPER_CLIENT_PORT: 32181 }, ports: ["12181:32181"] }
  a: { image: "provectuslabs/kafka-ui" }
  b: { image: "confluentinc/cp-kafka-connect:7" }
  c: { image: "opensearchproject/opensearch-dashboards:3" }
  d: { image: "oliver006/redis_exporter" }
  e: { image: "prometheuscommunity/postgres-exporter" }
  f: { image: "minio/mc" }
  g: { image: "grafana/loki-canary" }
`;
  const found = fromCompose(text, 'compose.yml', {});
  assert.ok(!JSON.stringify(found).includes('hush'));
  const ref = (name: string): string => `\${env:${name}}`;
  const minio = { access_key: ref('MINIO_ROOT_USER'), secret_key: ref('MINIO_SECRET') };
  const [es, admin] = [ref('ELASTIC_PASSWORD'), ref('OPENSEARCH_INITIAL_ADMIN_PASSWORD')];
  assert.deepEqual(
    found.map(({ name, kind, settings }) => [name, kind, settings]),
    [
      ['objects', 's3', { endpoint: 'http://localhost:19000', buckets: 'all', ...minio }],
      ['weed', 's3', { endpoint: 'http://localhost:8333', buckets: 'all' }],
      ['es', 'elasticsearch', { url: 'https://localhost:9200', username: 'elastic', password: es }],
      ['es-open', 'elasticsearch', { url: 'http://localhost:19200' }],
      ['os', 'elasticsearch', { url: 'http://localhost:9200' }],
      ['os-safe', 'elasticsearch', { url: 'https://localhost:9200', username: 'admin', password: admin }],
      ['logs', 'loki', { url: 'http://localhost:3100' }],
      ['events', 'kafka', { brokers: 'localhost:29092' }],
      ['zk', 'zookeeper', { hosts: 'localhost:12181' }],
    ],
  );
});

test('a password in a URL that somebody typed goes into a file of its own, not into the configuration', () => {
  const typed = (name: string, url: string) => ({ name, kind: 'redis', settings: { url }, from: 'your answer' });
  const { components, secrets } = withoutSecrets(
    [typed('cache', 'redis://:hush@cache'), typed('b', 'redis://b')],
    '/etc/x',
  );
  assert.deepEqual(
    components.map(({ settings }) => settings.url),
    [`\${file:/etc/x/cache.url}`, 'redis://b'],
  );
  assert.deepEqual(secrets, [{ file: '/etc/x/cache.url', text: 'redis://:hush@cache' }]);
});
