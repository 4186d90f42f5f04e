// Finds services in an environment or a docker-compose file, as first settings that a person can correct.

import { isMap, parseDocument } from 'yaml';
import { Failure } from '../../core/errors.ts';
import { recognised } from './compose.ts';
import { servicesIn } from './environment.ts';
import type { Found } from './found.ts';

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
  return [...found, ...servicesIn(env)];
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

/** `env` is what Compose itself would put in place of `${NAME}`. */
export function fromCompose(text: string, file: string, env: Env): readonly Found[] {
  const document = parseDocument(text);
  if (document.errors[0]) throw new Failure('settings-invalid', `${file}: ${document.errors[0].message}`);
  const services = document.get('services');
  if (!isMap(services)) throw new Failure('settings-invalid', `${file} has no services`);
  const found: Found[] = [];
  for (const [name, service] of Object.entries(services.toJSON() as Record<string, unknown>)) {
    const each = serviceOf(name, service, file, env);
    if (each) found.push(each);
  }
  return found;
}

interface Service {
  readonly image?: string;
  readonly environment?: Readonly<Record<string, unknown>> | readonly string[];
  readonly ports?: readonly unknown[];
}

function serviceOf(name: string, raw: unknown, file: string, outer: Env): Found | null {
  const service = (typeof raw === 'object' && raw !== null ? raw : {}) as Service;
  const [image = '', tag = ''] =
    interpolated(service.image ?? '', outer)
      .split('/')
      .at(-1)
      ?.split('@')[0]
      ?.split(':') ?? [];
  const env = environmentOf(service);
  const known = recognised({
    image,
    tag,
    env,
    value: (text) => interpolated(text, outer),
    secret: (variable) => `\${env:${variableIn(env[variable]) ?? variable}}`,
    port: (inside) => publishedPort(service, inside, outer),
  });
  return known && { name, from: `${file}: ${name}`, ...known };
}

function environmentOf({ environment }: Service): Record<string, string> {
  const pairs: readonly (readonly unknown[])[] = Array.isArray(environment)
    ? environment.map((line: string) => /^([^=]*)(?:=(.*))?$/s.exec(line)?.slice(1) ?? [])
    : Object.entries(environment ?? {});
  // A name alone is handed on from where Compose was started.
  return Object.fromEntries(pairs.map(([key, value]) => [String(key), String(value ?? `\${${key}}`)]));
}

/** The port of this machine that '127.0.0.1:15432:5432', '15432:5432' or { target, published } publishes. */
function publishedPort({ ports }: Service, inside: number, outer: Env): number {
  for (const port of ports ?? []) {
    const [target, published] = portsOf(port, outer);
    if (Number(target) === inside && Number(published) > 0) return Number(published);
  }
  return inside;
}

function portsOf(port: unknown, outer: Env): readonly unknown[] {
  if (typeof port !== 'object' || port === null) {
    return interpolated(String(port), outer).split('/')[0]?.split(':').reverse() ?? [];
  }
  const { target, published } = port as { target?: unknown; published?: unknown };
  return [target, published].map((each) => interpolated(String(each ?? ''), outer));
}

/** `$NAME`, `${NAME}`, and those with what holds when it is not set (`-`), or empty too (`:-`). `$$` is a dollar. */
const VARIABLE = /\$(?:\$|(?<plain>\w+)|\{(?<braced>\w+)(?:(?<empty>:)?-(?<otherwise>[^}]*))?[^}]*\})/g;

/** As Compose would read it; what it does not know becomes a reference that our configuration resolves. */
function interpolated(text: string, env: Env): string {
  return text.replace(VARIABLE, (whole: string, ...rest: unknown[]) => {
    const { plain, braced, empty, otherwise } = rest.at(-1) as Record<string, string | undefined>;
    const name = plain ?? braced;
    if (name === undefined) return whole === '$$' ? '$' : whole;
    const value = env[name];
    if (value !== undefined && !(value === '' && empty)) return value;
    return otherwise ?? `\${env:${name}}`;
  });
}

function variableIn(text: string | undefined): string | undefined {
  const [match] = (text ?? '').matchAll(VARIABLE);
  return match?.groups?.plain ?? match?.groups?.braced;
}

function firstSet(env: Env, names: readonly string[]): string | undefined {
  return names.find((name) => env[name] !== undefined && env[name] !== '');
}
