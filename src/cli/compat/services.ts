// The services that the two plans' variables name: how they are reached, and what a person calls them. Secrets are
// references, never values.

import { Failure } from '../../core/errors.ts';
import { given, listed, nameGiven, needed, type Variables, wholeNumber, yesOrNo } from './variables.ts';

export const SERVICES = ['postgres', 'redis', 'minio', 'elasticsearch'] as const;
export type Service = (typeof SERVICES)[number];

/** One service that a plan's scripts back up and restore. */
export interface Target {
  readonly component: string;
  /** What a person types to confirm that this is what they mean to overwrite. */
  readonly name: string;
  /** A variable that names it, where none is set: nobody has said that there is one. */
  readonly unnamed: string | null;
}
export interface NamedService {
  readonly target: Target;
  /** Of the component, as lifeboat.yaml has it. */
  readonly settings: Readonly<Record<string, unknown>>;
}

const MINIO_PORT = 9000;
const SEARCH_PORT = 9200;
const MINIO_VARIABLES = ['MINIO_ENDPOINT', 'MINIO_HOST', 'MINIO_ACCESS_KEY', 'MINIO_ROOT_USER'];
const SEARCH_URLS = ['ELASTICSEARCH_URL', 'ES_URL', 'ELASTICSEARCH_NODE', 'ELASTICSEARCH_HOST', 'ES_HOST'];

/** POSTGRES_… and REDIS_HOST without a default: a guess could be production. */
export function infershieldService(env: Variables, service: 'postgres' | 'redis'): NamedService {
  if (service === 'redis') return redis(env, needed(env, 'REDIS_HOST'));
  return postgres(env, {
    component: 'postgresql',
    host: needed(env, 'POSTGRES_HOST'),
    port: wholeNumber(env, 'POSTGRES_PORT'),
    user: given(env, 'POSTGRES_USER') ?? 'infershield',
    database: given(env, 'POSTGRES_DB') ?? 'infershield',
    password: 'POSTGRES_PASSWORD',
  });
}

/** DB_…, REDIS_…, MINIO_…, ELASTICSEARCH_… or ES_…: on this machine unless they say otherwise. */
export function aitCoreService(env: Variables, service: Service): NamedService {
  switch (service) {
    case 'postgres':
      return postgres(env, {
        component: 'postgres',
        host: given(env, 'DB_HOST') ?? 'localhost',
        port: wholeNumber(env, 'DB_PORT'),
        user: given(env, 'DB_USER') ?? 'aitcore',
        database: given(env, 'DB_NAME') ?? 'soriano_core',
        password: 'DB_PASSWORD',
      });
    case 'redis':
      return redis(env, given(env, 'REDIS_HOST') ?? 'localhost');
    case 'minio':
      return minio(env);
    case 'elasticsearch':
      return elasticsearch(env);
  }
}

interface PostgresNames {
  readonly component: string;
  readonly host: string;
  readonly port: number | undefined;
  readonly user: string;
  readonly database: string;
  /** The variable. */
  readonly password: string;
}

function postgres(
  env: Variables,
  { component, host, port = 5432, user, database, password }: PostgresNames,
): NamedService {
  return {
    target: { component, name: `${host}:${port}/${database}`, unnamed: null },
    settings: { kind: 'postgresql', host, port, user, databases: [database], ...secret(env, 'password', password) },
  };
}

function redis(env: Variables, host: string): NamedService {
  const port = wholeNumber(env, 'REDIS_PORT') ?? 6379;
  const login = { ...secret(env, 'username', 'REDIS_USERNAME'), ...secret(env, 'password', 'REDIS_PASSWORD') };
  return {
    target: { component: 'redis', name: `${host}:${port}`, unnamed: null },
    settings: { kind: 'redis', host, port, ...login },
  };
}

function minio(env: Variables): NamedService {
  const tls = yesOrNo(env, 'MINIO_USE_SSL') ?? false;
  const place = given(env, 'MINIO_ENDPOINT', 'MINIO_HOST') ?? 'localhost';
  const url = urlOf(place, { name: 'MINIO_ENDPOINT', tls, port: wholeNumber(env, 'MINIO_PORT') ?? MINIO_PORT });
  const buckets = listed(env, 'MINIO_BUCKETS', 'MINIO_BUCKET');
  const region = given(env, 'MINIO_REGION');
  const versions = yesOrNo(env, 'MINIO_VERSIONS') ?? false;
  const ca = given(env, 'MINIO_CA_FILE');
  return {
    target: {
      component: 'minio',
      name: `${url.host}${buckets ? `/${buckets.join(',')}` : ''}`,
      unnamed: nameGiven(env, ...MINIO_VARIABLES) === undefined ? 'MINIO_ENDPOINT' : null,
    },
    settings: {
      kind: 's3',
      endpoint: url.origin,
      ...(region === undefined ? {} : { region }),
      buckets: buckets ?? 'all',
      ...(versions ? { versions } : {}),
      ...(ca === undefined ? {} : { ca_file: ca }),
      ...secret(env, 'access_key', 'MINIO_ACCESS_KEY', 'MINIO_ROOT_USER'),
      ...secret(env, 'secret_key', 'MINIO_SECRET_KEY', 'MINIO_ROOT_PASSWORD'),
    },
  };
}

function elasticsearch(env: Variables): NamedService {
  const variable = nameGiven(env, ...SEARCH_URLS);
  const port = wholeNumber(env, 'ELASTICSEARCH_PORT') ?? wholeNumber(env, 'ES_PORT') ?? SEARCH_PORT;
  const place = (variable && env[variable]) ?? 'localhost';
  const url = urlOf(place, { name: variable ?? 'ELASTICSEARCH_URL', tls: false, port });
  const hasLogin = url.username !== '' || url.password !== '';
  const indices = listed(env, 'ELASTICSEARCH_INDICES', 'ES_INDICES');
  const ca = given(env, 'ELASTICSEARCH_CA_FILE', 'ES_CA_FILE');
  return {
    target: {
      component: 'elasticsearch',
      name: url.host,
      unnamed: variable === undefined ? 'ELASTICSEARCH_URL' : null,
    },
    settings: {
      kind: 'elasticsearch',
      // A password may stand in it.
      url: hasLogin ? `\${env:${variable}}` : url.href.replace(/\/$/, ''),
      ...(hasLogin ? {} : searchLogin(env)),
      ...(indices ? { indices } : {}),
      ...(ca === undefined ? {} : { tls: { ca_file: ca } }),
    },
  };
}

function searchLogin(env: Variables): Readonly<Record<string, string>> {
  const key = secret(env, 'api_key', 'ELASTICSEARCH_API_KEY', 'ES_API_KEY');
  if (Object.keys(key).length > 0) return key;
  const password = secret(env, 'password', 'ELASTICSEARCH_PASSWORD', 'ES_PASSWORD', 'ELASTIC_PASSWORD');
  if (Object.keys(password).length === 0) return {};
  const username = given(env, 'ELASTICSEARCH_USERNAME', 'ELASTICSEARCH_USER', 'ES_USERNAME', 'ES_USER') ?? 'elastic';
  return { username, ...password };
}

/** 'http://minio:9000', 'minio:9000' and 'minio' are all written. */
function urlOf(
  place: string,
  { name, tls, port }: { readonly name: string; readonly tls: boolean; readonly port: number },
): URL {
  const hasScheme = place.includes('://');
  const url = URL.parse(hasScheme ? place : `${tls ? 'https' : 'http'}://${place}`);
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    throw new Failure('settings-invalid', `the variable ${name} is no address`, { hint: `${name}=http://HOST:PORT` });
  }
  if (!hasScheme && url.port === '') url.port = String(port);
  return url;
}

/** A reference to the first variable of these that is set. */
export function secret(env: Variables, field: string, ...names: readonly string[]): Readonly<Record<string, string>> {
  const name = nameGiven(env, ...names);
  return name === undefined ? {} : { [field]: `\${env:${name}}` };
}
