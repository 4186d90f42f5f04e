import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { compatPlan, type Scope } from './plans.ts';
import { SERVICES } from './services.ts';

const BOTH: Scope = { services: ['postgres', 'redis'] };
const ALL: Scope = { services: SERVICES };
const INFERSHIELD = {
  POSTGRES_HOST: 'postgres.infershield.svc.cluster.local',
  POSTGRES_PORT: '5433',
  POSTGRES_DB: 'shield',
  POSTGRES_USER: 'app',
  POSTGRES_PASSWORD: 'canary-1',
  REDIS_HOST: 'redis.infershield.svc.cluster.local',
  REDIS_PORT: '6380',
  S3_BACKUP_BUCKET: 'infershield-backups',
  S3_BACKUP_PREFIX: 'prod',
  AWS_ACCESS_KEY_ID: 'canary-2',
  AWS_SECRET_ACCESS_KEY: 'canary-3',
};

test('the variables of InferShield name its services and its bucket', () => {
  const { config, targets } = compatPlan('infershield', INFERSHIELD, BOTH);
  assert.deepEqual(config, {
    stack: 'infershield',
    stores: {
      s3: {
        format: 'plain',
        layout: 'dated',
        bucket: 's3://infershield-backups/prod',
        region: 'us-east-1',
        encryption: 'AES256',
        access_key: reference('AWS_ACCESS_KEY_ID'),
        secret_key: reference('AWS_SECRET_ACCESS_KEY'),
      },
    },
    components: {
      postgresql: {
        kind: 'postgresql',
        host: 'postgres.infershield.svc.cluster.local',
        port: 5433,
        user: 'app',
        databases: ['shield'],
        password: reference('POSTGRES_PASSWORD'),
      },
      redis: { kind: 'redis', host: 'redis.infershield.svc.cluster.local', port: 6380 },
    },
    plans: { daily: { schedule: '0 2 * * *', timezone: 'UTC', keep: { within: '30d' } } },
  });
  assert.deepEqual(
    targets.map(({ name }) => name),
    ['postgres.infershield.svc.cluster.local:5433/shield', 'redis.infershield.svc.cluster.local:6380'],
  );
});

test('no secret is in the configuration that variables become', () => {
  assert.doesNotMatch(JSON.stringify(compatPlan('infershield', INFERSHIELD, BOTH)), /canary/);
  const secrets = { DB_PASSWORD: 'canary-1', REDIS_PASSWORD: 'canary-2', AWS_SECRET_ACCESS_KEY: 'canary-3' };
  const env = { ...secrets, S3_BACKUP_BUCKET: 'b' };
  assert.doesNotMatch(JSON.stringify(compatPlan('ait-core', env, BOTH)), /canary/);
});

test('InferShield has no default host: a guess could be production', () => {
  for (const name of ['POSTGRES_HOST', 'REDIS_HOST', 'S3_BACKUP_BUCKET']) {
    for (const value of [undefined, '']) {
      assert.throws(
        () => compatPlan('infershield', { ...INFERSHIELD, [name]: value }, BOTH),
        (error) => isFailure(error, 'settings-invalid') && error.message.includes(name),
      );
    }
  }
});

test('a script asks only for the variables of the services that it is about', () => {
  const { REDIS_HOST: _redis, ...postgres } = INFERSHIELD;
  const found = compatPlan('infershield', postgres, { services: ['postgres'] });
  assert.deepEqual(Object.keys(found.config.components as object), ['postgresql']);
  const { S3_BACKUP_BUCKET: _bucket, ...noBucket } = INFERSHIELD;
  assert.deepEqual(compatPlan('infershield', noBucket, { ...BOTH, test: true }).config.stores, {});
});

test('AIT-CORE without any variable is its plan', () => {
  const { config } = compatPlan('ait-core', {}, BOTH);
  assert.deepEqual(config.stores, { local: { format: 'plain', layout: 'by-component', bucket: '/backup' } });
  assert.deepEqual(config.components, {
    postgres: { kind: 'postgresql', host: 'localhost', port: 5432, user: 'aitcore', databases: ['soriano_core'] },
    redis: { kind: 'redis', host: 'localhost', port: 6379 },
  });
  const { full } = config.plans as Record<string, unknown>;
  assert.deepEqual(full, { schedule: '0 2 * * *', keep: { local: { within: '30d' } } });
});

test('AIT-CORE keeps 30 days on disk and 90 days in S3, rarely read', () => {
  const { config } = compatPlan('ait-core', { S3_BACKUP_BUCKET: 'ait-backup' }, BOTH);
  const { s3 } = config.stores as Record<string, unknown>;
  assert.deepEqual(s3, {
    format: 'plain',
    layout: 'by-component',
    bucket: 's3://ait-backup',
    region: 'us-east-1',
    encryption: 'AES256',
    storage_class: 'STANDARD_IA',
  });
  const { redis } = config.plans as Record<string, unknown>;
  assert.deepEqual(redis, {
    schedule: '0 */4 * * *',
    components: ['redis'],
    keep: { local: { within: '30d' }, s3: { within: '90d' } },
  });
});

test('another S3 server is asked for nothing that only AWS is known to do', () => {
  const env = { S3_BACKUP_BUCKET: 'b', AWS_ENDPOINT_URL: 'http://127.0.0.1:9000', AWS_DEFAULT_REGION: 'eu-west-1' };
  const { config } = compatPlan('ait-core', env, BOTH);
  const { s3 } = config.stores as Record<string, unknown>;
  assert.deepEqual(s3, {
    format: 'plain',
    layout: 'by-component',
    bucket: 's3://b',
    region: 'eu-west-1',
    endpoint: 'http://127.0.0.1:9000',
  });
});

test('AIT-CORE backs up MinIO at 3 and Elasticsearch at 4, and keeps indices for 14 days on disk and 30 in S3', () => {
  const env = { S3_BACKUP_BUCKET: 'b', MINIO_ENDPOINT: 'http://minio:9000', ES_HOST: 'search' };
  const plans = compatPlan('ait-core', env, ALL).config.plans as Record<string, unknown>;
  assert.deepEqual(plans.full, { schedule: '0 2 * * *', keep: { local: { within: '30d' }, s3: { within: '90d' } } });
  assert.deepEqual(plans.minio, {
    schedule: '0 3 * * *',
    components: ['minio'],
    keep: { local: { within: '30d' }, s3: { within: '90d' } },
  });
  assert.deepEqual(plans.elasticsearch, {
    schedule: '0 4 * * *',
    components: ['elasticsearch'],
    keep: { local: { within: '14d' }, s3: { within: '30d' } },
  });
});

test('a full backup is of the services that somebody has named', () => {
  const { config, targets } = compatPlan('ait-core', { ES_HOST: 'search' }, ALL);
  const { full } = config.plans as Record<string, { components?: unknown }>;
  assert.deepEqual(full?.components, ['postgres', 'redis', 'elasticsearch']);
  assert.deepEqual(
    targets.map(({ unnamed }) => unnamed),
    [null, null, 'MINIO_ENDPOINT', null],
  );
});

test('addresses of MinIO and Elasticsearch may be written as applications write them', () => {
  const cases: readonly (readonly [Record<string, string>, string, string])[] = [
    [{}, 'http://localhost:9000', 'http://localhost:9200'],
    [{ MINIO_ENDPOINT: 'minio', ES_HOST: 'search' }, 'http://minio:9000', 'http://search:9200'],
    [{ MINIO_ENDPOINT: 'minio:9001', ES_HOST: 'search:9201' }, 'http://minio:9001', 'http://search:9201'],
    [{ MINIO_HOST: 'm', MINIO_PORT: '9', ES_HOST: 's', ES_PORT: '7' }, 'http://m:9', 'http://s:7'],
    [{ MINIO_ENDPOINT: 'm', MINIO_USE_SSL: 'true', ES_HOST: 'https://s:1' }, 'https://m:9000', 'https://s:1'],
    [{ MINIO_ENDPOINT: 'https://m', ELASTICSEARCH_URL: 'https://s/p' }, 'https://m', 'https://s/p'],
  ];
  for (const [env, endpoint, url] of cases) {
    const { minio, elasticsearch } = compatPlan('ait-core', env, ALL).config.components as Record<string, object>;
    assert.partialDeepStrictEqual(minio, { endpoint });
    assert.partialDeepStrictEqual(elasticsearch, { url });
  }
  assert.throws(
    () => compatPlan('ait-core', { MINIO_ENDPOINT: 'ftp://minio' }, ALL),
    (error) => isFailure(error, 'settings-invalid') && error.message.includes('MINIO_ENDPOINT'),
  );
});

test('who we are at MinIO and Elasticsearch is a reference, also where it stands in an address', () => {
  const keys = { MINIO_ROOT_USER: 'canary-1', MINIO_ROOT_PASSWORD: 'canary-2', MINIO_BUCKETS: 'a, b' };
  const { config, targets } = compatPlan('ait-core', { ...keys, ES_URL: 'http://me:canary-3@search:9200' }, ALL);
  assert.doesNotMatch(JSON.stringify([config, targets]), /canary/);
  const { minio, elasticsearch } = config.components as Record<string, object>;
  assert.deepEqual(minio, {
    kind: 's3',
    endpoint: 'http://localhost:9000',
    buckets: ['a', 'b'],
    access_key: reference('MINIO_ROOT_USER'),
    secret_key: reference('MINIO_ROOT_PASSWORD'),
  });
  assert.deepEqual(elasticsearch, { kind: 'elasticsearch', url: reference('ES_URL') });
  const password = compatPlan('ait-core', { ES_HOST: 's', ELASTIC_PASSWORD: 'canary-4' }, ALL).config.components;
  const login = { username: 'elastic', password: reference('ELASTIC_PASSWORD') };
  assert.partialDeepStrictEqual(password, { elasticsearch: login });
});

test('a port that is none is refused by the name of its variable', () => {
  for (const port of ['5432x', '-1', ' 5432']) {
    assert.throws(
      () => compatPlan('ait-core', { DB_PORT: port }, BOTH),
      (error) => isFailure(error, 'settings-invalid') && error.message.includes('DB_PORT'),
    );
  }
});

/** As lifeboat.yaml refers to a variable. */
function reference(variable: string): string {
  return `$\{env:${variable}}`;
}
