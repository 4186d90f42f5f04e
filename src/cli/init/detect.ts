// Finds PostgreSQL and Redis in an environment or a docker-compose file, as first settings that a person can correct.

import { isMap, parseDocument } from 'yaml';
import { Failure } from '../../core/errors.ts';

/** One component as it will stand in lifeboat.yaml. Secrets are references, never values. */
export interface Found {
  readonly name: string;
  readonly kind: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Where it was seen. */
  readonly from: string;
}
type Env = Readonly<Record<string, string | undefined>>;

export function fromEnvironment(env: Env): readonly Found[] {
  const found: Found[] = [];
  const postgres = firstSet(env, ['DATABASE_URL', 'POSTGRES_URL']);
  if (postgres && /^postgres(ql)?:/.test(env[postgres] ?? '')) {
    found.push({ name: 'main-db', kind: 'postgresql', settings: { url: `\${env:${postgres}}` }, from: postgres });
  } else if (env.POSTGRES_HOST ?? env.PGHOST) {
    found.push(postgresFromFields(env));
  }
  const redis = firstSet(env, ['REDIS_URL', 'VALKEY_URL']);
  if (redis) found.push({ name: 'cache', kind: 'redis', settings: { url: `\${env:${redis}}` }, from: redis });
  else if (env.REDIS_HOST) found.push(redisFromFields(env));
  return found;
}

function postgresFromFields(env: Env): Found {
  const prefix = env.POSTGRES_HOST ? 'POSTGRES_' : 'PG';
  const passwordName = `${prefix}PASSWORD`;
  const database = prefix === 'PG' ? env.PGDATABASE : env.POSTGRES_DB;
  return {
    name: 'main-db',
    kind: 'postgresql',
    from: `${prefix}HOST`,
    settings: {
      host: env[`${prefix}HOST`],
      ...(env[`${prefix}PORT`] ? { port: Number(env[`${prefix}PORT`]) } : {}),
      user: env[`${prefix}USER`] ?? 'postgres',
      ...(env[passwordName] === undefined ? {} : { password: `\${env:${passwordName}}` }),
      databases: database ? [database] : 'all',
    },
  };
}

function redisFromFields(env: Env): Found {
  return {
    name: 'cache',
    kind: 'redis',
    from: 'REDIS_HOST',
    settings: {
      host: env.REDIS_HOST,
      ...(env.REDIS_PORT ? { port: Number(env.REDIS_PORT) } : {}),
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a reference that the configuration resolves
      ...(env.REDIS_PASSWORD === undefined ? {} : { password: '${env:REDIS_PASSWORD}' }),
    },
  };
}

export function fromCompose(text: string, file: string): readonly Found[] {
  const document = parseDocument(text);
  if (document.errors[0]) throw new Failure('settings-invalid', `${file}: ${document.errors[0].message}`);
  const services = document.get('services');
  if (!isMap(services)) throw new Failure('settings-invalid', `${file} has no services`);
  const found: Found[] = [];
  for (const [name, service] of Object.entries(services.toJSON() as Record<string, unknown>)) {
    const each = serviceOf(name, service, file);
    if (each) found.push(each);
  }
  return found;
}

interface Service {
  readonly image?: string;
  readonly environment?: Readonly<Record<string, unknown>> | readonly string[];
  readonly ports?: readonly unknown[];
}

function serviceOf(name: string, raw: unknown, file: string): Found | null {
  const service = (typeof raw === 'object' && raw !== null ? raw : {}) as Service;
  const image = (service.image ?? '').split('/').at(-1) ?? '';
  const env = environmentOf(service);
  const from = `${file}: ${name}`;
  if (/^(postgres|postgresql|postgis|timescaledb|pgvector)\b/.test(image)) {
    const settings = {
      host: 'localhost',
      port: publishedPort(service, 5432),
      user: env.POSTGRES_USER ?? 'postgres',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a reference that the configuration resolves
      password: '${env:POSTGRES_PASSWORD}',
      databases: env.POSTGRES_DB ? [env.POSTGRES_DB] : 'all',
    };
    return { name, kind: 'postgresql', from, settings };
  }
  if (/^(redis|valkey|redis-stack-server)\b/.test(image)) {
    return { name, kind: 'redis', from, settings: { host: 'localhost', port: publishedPort(service, 6379) } };
  }
  return null;
}

function environmentOf({ environment }: Service): Record<string, string> {
  const pairs = Array.isArray(environment)
    ? environment.map((line: string) => [line.split('=')[0] ?? '', line.slice(line.indexOf('=') + 1)])
    : Object.entries(environment ?? {}).map(([key, value]) => [key, String(value)]);
  return Object.fromEntries(pairs);
}

/** The port of this machine that '127.0.0.1:15432:5432' or '15432:5432' publishes. */
function publishedPort({ ports }: Service, inside: number): number {
  for (const port of ports ?? []) {
    const [target, published] = String(port).split('/')[0]?.split(':').reverse() ?? [];
    if (Number(target) === inside && published !== undefined) return Number(published);
  }
  return inside;
}

function firstSet(env: Env, names: readonly string[]): string | undefined {
  return names.find((name) => env[name] !== undefined && env[name] !== '');
}
