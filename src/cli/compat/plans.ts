// What lifeboat.yaml would say of the two plans' variables.

import {
  aitCoreService,
  infershieldService,
  type NamedService,
  SERVICES,
  type Service,
  secret,
  type Target,
} from './services.ts';
import { given, needed, type Variables, wholeNumber } from './variables.ts';

export type PlanName = 'infershield' | 'ait-core';

export interface CompatPlan {
  /** As lifeboat.yaml has it. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly targets: readonly Target[];
  /** The zone of the stamps in the old scripts' file names. */
  readonly timeZone: string;
}
/** Which services a script is about: a variable is asked for only where it is used. */
export interface Scope {
  readonly services: readonly Service[];
  /** Backups go nowhere, so no store is needed. */
  readonly test?: boolean | undefined;
}

export function compatPlan(plan: PlanName, env: Variables, scope: Scope): CompatPlan {
  return plan === 'infershield' ? infershield(env, scope) : aitCore(env, scope);
}

/** POSTGRES_…, REDIS_…, S3_BACKUP_BUCKET: dated folders in S3. */
function infershield(env: Variables, { services, test }: Scope): CompatPlan {
  const own = services.filter((each) => each === 'postgres' || each === 'redis');
  const found = own.map((service) => infershieldService(env, service));
  const bucket = test ? null : needed(env, 'S3_BACKUP_BUCKET');
  const days = wholeNumber(env, 'BACKUP_RETENTION_DAYS') ?? 30;
  return planOf('infershield', env, found, {
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

const AIT_CORE_SCHEDULES: Readonly<Record<Service, string>> = {
  postgres: '0 */6 * * *',
  redis: '0 */4 * * *',
  minio: '0 3 * * *',
  elasticsearch: '0 4 * * *',
};

/** BACKUP_DIR, S3_BACKUP_BUCKET: folders by component on a disk and, if named, in S3. */
function aitCore(env: Variables, { services }: Scope): CompatPlan {
  const found = services.map((service) => aitCoreService(env, service));
  const bucket = given(env, 'S3_BACKUP_BUCKET', 'S3_BUCKET');
  const local = { format: 'plain', layout: 'by-component', bucket: given(env, 'BACKUP_DIR') ?? '/backup' };
  const s3 =
    bucket === undefined
      ? {}
      : { s3: s3Store(env, 'by-component', bucket, given(env, 'S3_BACKUP_PREFIX') ?? '', 'STANDARD_IA') };
  const keepFor = (localDays: number, s3Days: number): object => ({
    local: { within: `${localDays}d` },
    ...(bucket === undefined ? {} : { s3: { within: `${s3Days}d` } }),
  });
  const keep = keepFor(wholeNumber(env, 'RETENTION_DAYS') ?? 30, wholeNumber(env, 'S3_RETENTION_DAYS') ?? 90);
  const keepSearch = keepFor(
    wholeNumber(env, 'ELASTICSEARCH_RETENTION_DAYS') ?? 14,
    wholeNumber(env, 'ELASTICSEARCH_S3_RETENTION_DAYS') ?? 30,
  );
  const named = found.filter(({ target }) => target.unnamed === null).map(({ target }) => target.component);
  const isPart = named.length > 0 && named.length < found.length;
  // All of them, whatever the script is about: points of each are removed by the rules of the plan that made them.
  const single = SERVICES.map((service) => {
    const components = services.includes(service) ? [service] : 'all';
    const kept = service === 'elasticsearch' ? keepSearch : keep;
    return [service, { schedule: AIT_CORE_SCHEDULES[service], components, keep: kept }] as const;
  });
  return planOf('ait-core', env, found, {
    stores: { local, ...s3 },
    plans: {
      full: { schedule: '0 2 * * *', ...(isPart ? { components: named } : {}), keep },
      ...Object.fromEntries(single),
    },
  });
}

function planOf(
  stack: string,
  env: Variables,
  services: readonly NamedService[],
  rest: { readonly stores: Readonly<Record<string, unknown>>; readonly plans: Readonly<Record<string, unknown>> },
): CompatPlan {
  const components = Object.fromEntries(services.map(({ target, settings }) => [target.component, settings]));
  const version = given(env, 'APP_VERSION');
  return {
    config: {
      stack,
      ...(version === undefined ? {} : { version }),
      stores: rest.stores,
      components,
      plans: rest.plans,
    },
    targets: services.map(({ target }) => target),
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
    ...secret(env, 'access_key', 'AWS_ACCESS_KEY_ID'),
    ...secret(env, 'secret_key', 'AWS_SECRET_ACCESS_KEY'),
    ...secret(env, 'session_token', 'AWS_SESSION_TOKEN'),
  };
}
