// What lifeboat.yaml would say of the two plans' variables. Secrets are references, never values.

import { given, needed, type Variables, wholeNumber } from './variables.ts';

export type PlanName = 'infershield' | 'ait-core';

/** One service that a plan's scripts back up and restore. */
interface Target {
  readonly component: string;
  /** What a person types to confirm that this is what they mean to overwrite. */
  readonly name: string;
}
export interface CompatPlan {
  /** As lifeboat.yaml has it. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly targets: readonly Target[];
  /** The zone of the stamps in the old scripts' file names. */
  readonly timeZone: string;
}
/** Which services a script is about: a variable is asked for only where it is used. */
export interface Scope {
  readonly postgres: boolean;
  readonly redis: boolean;
  /** Backups go nowhere, so no store is needed. */
  readonly test?: boolean | undefined;
}

export function compatPlan(plan: PlanName, env: Variables, scope: Scope): CompatPlan {
  return plan === 'infershield' ? infershield(env, scope) : aitCore(env, scope);
}

/** POSTGRES_…, REDIS_…, S3_BACKUP_BUCKET: dated folders in S3. Hosts have no default: a guess could be production. */
function infershield(env: Variables, scope: Scope): CompatPlan {
  const postgres = scope.postgres ? { host: needed(env, 'POSTGRES_HOST'), database: 'infershield' } : null;
  const redis = scope.redis ? { host: needed(env, 'REDIS_HOST') } : null;
  const bucket = scope.test ? null : needed(env, 'S3_BACKUP_BUCKET');
  const days = wholeNumber(env, 'BACKUP_RETENTION_DAYS') ?? 30;
  return planOf('infershield', env, {
    postgres: postgres && {
      component: 'postgresql',
      host: postgres.host,
      port: wholeNumber(env, 'POSTGRES_PORT') ?? 5432,
      user: given(env, 'POSTGRES_USER') ?? 'infershield',
      database: given(env, 'POSTGRES_DB') ?? postgres.database,
      passwordName: 'POSTGRES_PASSWORD',
    },
    redis: redis && { component: 'redis', host: redis.host },
    stores: bucket === null ? {} : { s3: s3Store(env, 'dated', bucket, given(env, 'S3_BACKUP_PREFIX') ?? 'prod') },
    plans: {
      daily: {
        schedule: given(env, 'BACKUP_SCHEDULE') ?? '0 2 * * *',
        timezone: 'UTC',
        keep: { within: `${days}d` },
      },
    },
  });
}

/** DB_…, REDIS_…, BACKUP_DIR, S3_BACKUP_BUCKET: folders by component on a disk and, if named, in S3. */
function aitCore(env: Variables, scope: Scope): CompatPlan {
  const bucket = given(env, 'S3_BACKUP_BUCKET', 'S3_BUCKET');
  const local = { format: 'plain', layout: 'by-component', bucket: given(env, 'BACKUP_DIR') ?? '/backup' };
  const s3 =
    bucket === undefined
      ? {}
      : { s3: s3Store(env, 'by-component', bucket, given(env, 'S3_BACKUP_PREFIX') ?? '', 'STANDARD_IA') };
  const keep = {
    local: { within: `${wholeNumber(env, 'RETENTION_DAYS') ?? 30}d` },
    ...(bucket === undefined ? {} : { s3: { within: `${wholeNumber(env, 'S3_RETENTION_DAYS') ?? 90}d` } }),
  };
  return planOf('ait-core', env, {
    postgres: !scope.postgres
      ? null
      : {
          component: 'postgres',
          host: given(env, 'DB_HOST') ?? 'localhost',
          port: wholeNumber(env, 'DB_PORT') ?? 5432,
          user: given(env, 'DB_USER') ?? 'aitcore',
          database: given(env, 'DB_NAME') ?? 'soriano_core',
          passwordName: 'DB_PASSWORD',
        },
    redis: scope.redis ? { component: 'redis', host: given(env, 'REDIS_HOST') ?? 'localhost' } : null,
    stores: { local, ...s3 },
    plans: {
      full: { schedule: '0 2 * * *', keep },
      postgres: { schedule: '0 */6 * * *', components: scope.postgres ? ['postgres'] : 'all', keep },
      redis: { schedule: '0 */4 * * *', components: scope.redis ? ['redis'] : 'all', keep },
    },
  });
}

interface Services {
  readonly postgres: {
    readonly component: string;
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly database: string;
    readonly passwordName: string;
  } | null;
  readonly redis: { readonly component: string; readonly host: string } | null;
  readonly stores: Readonly<Record<string, unknown>>;
  readonly plans: Readonly<Record<string, unknown>>;
}

function planOf(stack: string, env: Variables, { postgres, redis, stores, plans }: Services): CompatPlan {
  const components: Record<string, unknown> = {};
  const targets: Target[] = [];
  if (postgres) {
    const { component, host, port, user, database, passwordName } = postgres;
    const password = secret(env, passwordName, 'password');
    components[component] = { kind: 'postgresql', host, port, user, databases: [database], ...password };
    targets.push({ component, name: `${host}:${port}/${database}` });
  }
  if (redis) {
    const { component, host } = redis;
    const port = wholeNumber(env, 'REDIS_PORT') ?? 6379;
    const login = { ...secret(env, 'REDIS_USERNAME', 'username'), ...secret(env, 'REDIS_PASSWORD', 'password') };
    components[component] = { kind: 'redis', host, port, ...login };
    targets.push({ component, name: `${host}:${port}` });
  }
  const version = given(env, 'APP_VERSION');
  return {
    config: { stack, ...(version === undefined ? {} : { version }), stores, components, plans },
    targets,
    timeZone: given(env, 'BACKUP_TIMEZONE') ?? 'UTC',
  };
}

function s3Store(
  env: Variables,
  layout: 'dated' | 'by-component',
  bucket: string,
  prefix: string,
  storageClass?: string,
): object {
  const endpoint = given(env, 'AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL');
  // What AWS does by itself or on request, another server may refuse.
  const encryption = given(env, 'S3_ENCRYPTION') ?? (endpoint === undefined ? 'AES256' : undefined);
  const storage = given(env, 'S3_STORAGE_CLASS') ?? (endpoint === undefined ? storageClass : undefined);
  return {
    format: 'plain',
    layout,
    bucket: `s3://${bucket}${prefix === '' ? '' : `/${prefix.replace(/^\/+|\/+$/g, '')}`}`,
    region: given(env, 'AWS_REGION', 'AWS_DEFAULT_REGION') ?? 'us-east-1',
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(encryption === undefined ? {} : { encryption }),
    ...(storage === undefined ? {} : { storage_class: storage }),
    ...secret(env, 'AWS_ACCESS_KEY_ID', 'access_key'),
    ...secret(env, 'AWS_SECRET_ACCESS_KEY', 'secret_key'),
    ...secret(env, 'AWS_SESSION_TOKEN', 'session_token'),
  };
}

/** A reference to the variable, when it is set. */
function secret(env: Variables, name: string, field: string): Readonly<Record<string, string>> {
  return given(env, name) === undefined ? {} : { [field]: `\${env:${name}}` };
}
