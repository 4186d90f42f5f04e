// S3, search, logs, topics and coordination, as variables of an environment name them.

import { aitCoreService, secret } from '../compat/services.ts';
import { given, listed, nameGiven, type Variables } from '../compat/variables.ts';
import type { Found } from './found.ts';

const S3_VARIABLES = ['S3_ENDPOINT', 'S3_ENDPOINT_URL', 'AWS_ENDPOINT_URL_S3'];
const BROKER_VARIABLES = ['KAFKA_BROKERS', 'KAFKA_BOOTSTRAP_SERVERS', 'KAFKA_BOOTSTRAP_SERVER', 'KAFKA_URL'];
const ENSEMBLE_VARIABLES = ['ZOOKEEPER_HOSTS', 'ZOOKEEPER_CONNECT', 'KAFKA_ZOOKEEPER_CONNECT', 'ZK_HOSTS', 'ZK_HOST'];

export function servicesIn(env: Variables): readonly Found[] {
  return [s3(env), search(env), logs(env), topics(env), ensemble(env)].filter((each) => each !== null);
}

function s3(env: Variables): Found | null {
  const { target, settings } = aitCoreService(env, 'minio');
  if (target.unnamed === null) return found('objects', 's3', seen(env, /^MINIO_/), settings);
  const variable = nameGiven(env, ...S3_VARIABLES);
  if (variable === undefined) return null;
  return found('objects', 's3', variable, {
    endpoint: written(env, variable),
    ...secret(env, 'access_key', 'S3_ACCESS_KEY', 'S3_ACCESS_KEY_ID', 'AWS_ACCESS_KEY_ID'),
    ...secret(env, 'secret_key', 'S3_SECRET_KEY', 'S3_SECRET_ACCESS_KEY', 'AWS_SECRET_ACCESS_KEY'),
    buckets: listed(env, 'S3_BUCKETS', 'S3_BUCKET') ?? 'all',
  });
}

function search(env: Variables): Found | null {
  const { target, settings } = aitCoreService(env, 'elasticsearch');
  if (target.unnamed === null) return found('search', 'elasticsearch', seen(env, /^(ELASTIC|ES_)/), settings);
  const variable = nameGiven(env, 'OPENSEARCH_URL');
  if (variable === undefined) return null;
  return found('search', 'elasticsearch', variable, {
    url: `\${env:${variable}}`,
    ...secret(env, 'username', 'OPENSEARCH_USERNAME'),
    ...secret(env, 'password', 'OPENSEARCH_PASSWORD', 'OPENSEARCH_INITIAL_ADMIN_PASSWORD'),
  });
}

function logs(env: Variables): Found | null {
  const variable = nameGiven(env, 'LOKI_URL', 'LOKI_ADDR');
  if (variable === undefined) return null;
  const tenant = given(env, 'LOKI_ORG_ID');
  return found('logs', 'loki', variable, {
    url: written(env, variable),
    ...(tenant === undefined ? {} : { tenant }),
    ...secret(env, 'username', 'LOKI_USERNAME'),
    ...secret(env, 'password', 'LOKI_PASSWORD'),
    ...secret(env, 'token', 'LOKI_BEARER_TOKEN'),
  });
}

function topics(env: Variables): Found | null {
  const variable = nameGiven(env, ...BROKER_VARIABLES);
  if (variable === undefined) return null;
  const mechanism = given(env, 'KAFKA_SASL_MECHANISM');
  const sasl = {
    ...(mechanism === undefined ? {} : { mechanism }),
    ...secret(env, 'username', 'KAFKA_SASL_USERNAME', 'KAFKA_USERNAME'),
    ...secret(env, 'password', 'KAFKA_SASL_PASSWORD', 'KAFKA_PASSWORD'),
  };
  const brokers = written(env, variable).replaceAll(/\w+:\/\//g, '');
  return found('events', 'kafka', variable, { brokers, ...('password' in sasl ? { sasl } : {}) });
}

function ensemble(env: Variables): Found | null {
  const variable = nameGiven(env, ...ENSEMBLE_VARIABLES);
  if (variable === undefined) return null;
  return found('coordination', 'zookeeper', variable, {
    hosts: written(env, variable),
    ...secret(env, 'username', 'ZOOKEEPER_USERNAME'),
    ...secret(env, 'password', 'ZOOKEEPER_PASSWORD'),
  });
}

/** `settings` as a configuration has them, with or without the kind. */
function found(name: string, kind: string, from: string, settings: Found['settings']): Found {
  const { kind: _kind, ...rest } = settings;
  return { name, kind, from, settings: rest };
}

/** As it is, or by reference where it may hold a password. */
function written(env: Variables, variable: string): string {
  const value = env[variable] ?? '';
  return value.includes('@') ? `\${env:${variable}}` : value;
}

/** The first variable of these that is set. */
function seen(env: Variables, names: RegExp): string {
  return Object.keys(env).find((name) => names.test(name) && env[name]) ?? 'the environment';
}
