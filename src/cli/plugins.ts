// Every plug-in there is, by name. Each is loaded when it is first used, so backing up Redis never loads the S3 client.

import type { z } from 'zod';
import { Failure } from '../core/errors.ts';
import type { Context, Driver, Finding } from '../core/model.ts';
import { nearest } from '../core/settings.ts';
import type { Bucket, StoreFormat } from '../core/storage.ts';

export interface DriverPlugin {
  readonly driver: Driver;
  readonly settings: z.ZodObject;
}
export interface FormatPlugin {
  readonly format: StoreFormat;
  readonly settings: z.ZodObject;
}
export interface BucketPlugin {
  readonly settings: z.ZodObject;
  open(ctx: Context, url: string, settings: unknown): Bucket;
  /** What else was decided about the bucket that concerns what lies there. Changes nothing. */
  posture?(ctx: Context, url: string, settings: unknown): Promise<readonly Finding[]>;
}

const DRIVERS: Readonly<Record<string, () => Promise<DriverPlugin>>> = {
  postgresql: async () => {
    const [{ postgresqlDriver }, { postgresqlSettings }] = await Promise.all([
      import('../drivers/postgresql/driver.ts'),
      import('../drivers/postgresql/settings.ts'),
    ]);
    return { driver: postgresqlDriver, settings: postgresqlSettings };
  },
  redis: async () => {
    const [{ redisDriver }, { redisSettings }] = await Promise.all([
      import('../drivers/redis/driver.ts'),
      import('../drivers/redis/settings.ts'),
    ]);
    return { driver: redisDriver, settings: redisSettings };
  },
  files: async () => {
    const [{ filesDriver }, { filesSettings }] = await Promise.all([
      import('../drivers/files/driver.ts'),
      import('../drivers/files/settings.ts'),
    ]);
    return { driver: filesDriver, settings: filesSettings };
  },
};

const FORMATS: Readonly<Record<string, () => Promise<FormatPlugin>>> = {
  restic: async () => {
    const [{ resticFormat }, { resticSettings }] = await Promise.all([
      import('../stores/restic/store.ts'),
      import('../stores/restic/settings.ts'),
    ]);
    return { format: resticFormat, settings: resticSettings };
  },
  plain: async () => {
    const [{ plainFormat }, { plainSettings }] = await Promise.all([
      import('../stores/plain/store.ts'),
      import('../stores/plain/settings.ts'),
    ]);
    return { format: plainFormat, settings: plainSettings };
  },
};

export function driverNames(): readonly string[] {
  return Object.keys(DRIVERS);
}
export function formatNames(): readonly string[] {
  return Object.keys(FORMATS);
}

export async function driverPlugin(kind: string): Promise<DriverPlugin> {
  return await pick(DRIVERS, kind, 'kind of component');
}
export async function formatPlugin(format: string): Promise<FormatPlugin> {
  return await pick(FORMATS, format, 'store format');
}

/** The kind of bucket that a URL names: 's3://…', or a directory. */
export async function bucketPlugin(url: string): Promise<BucketPlugin> {
  if (url.startsWith('s3://')) {
    const [{ s3Bucket }, { s3BucketSettings }] = await Promise.all([
      import('../buckets/s3/bucket.ts'),
      import('../buckets/s3/settings.ts'),
    ]);
    return {
      settings: s3BucketSettings,
      open: (_ctx, at, settings) => s3Bucket(at, settings),
      async posture(ctx, at, settings) {
        return await (await import('../buckets/s3/posture.ts')).s3Posture(ctx, at, settings);
      },
    };
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//.test(url)) {
    throw new Failure('settings-invalid', `bucket ${url}: only s3://… and directories are known`);
  }
  const [{ localBucket }, { z: zod }] = await Promise.all([import('../buckets/local/bucket.ts'), import('zod')]);
  return { settings: zod.strictObject({}), open: (_ctx, dir) => localBucket(dir) };
}

async function pick<T>(table: Readonly<Record<string, () => Promise<T>>>, name: string, what: string): Promise<T> {
  const load = Object.hasOwn(table, name) ? table[name] : undefined;
  if (load) return await load();
  const near = nearest(name, Object.keys(table));
  const known = Object.keys(table).join(', ');
  throw new Failure('settings-invalid', `${name} is no ${what}; known: ${known}`, {
    hint: near ? `did you mean ${near}?` : undefined,
  });
}
