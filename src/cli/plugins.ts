// Every plug-in there is, by name. Each is loaded when it is first used, so backing up Redis never loads the S3 client.

import type { z } from 'zod';
import type { Driver, SandboxRunner } from '../core/driver.ts';
import { Failure } from '../core/errors.ts';
import type { Context, Finding } from '../core/model.ts';
import { nearest } from '../core/settings.ts';
import type { Bucket, StoreFormat } from '../core/storage.ts';
import type { ExternalOptions } from '../sandboxes/external/runner.ts';

/** Settings are needed to read a configuration; what is opened with them is loaded when it is used. */
export interface DriverPlugin {
  readonly settings: z.ZodObject;
  driver(): Promise<Driver>;
}
export interface FormatPlugin {
  readonly settings: z.ZodObject;
  format(): Promise<StoreFormat>;
}
export interface BucketPlugin {
  readonly settings: z.ZodObject;
  open(ctx: Context, url: string, settings: unknown): Promise<Bucket>;
  /** What else was decided about the bucket that concerns what lies there. Changes nothing. */
  posture?(ctx: Context, url: string, settings: unknown): Promise<readonly Finding[]>;
}

const DRIVERS: Readonly<Record<string, () => Promise<DriverPlugin>>> = {
  postgresql: async () => ({
    settings: (await import('../drivers/postgresql/settings.ts')).postgresqlSettings,
    driver: async () => (await import('../drivers/postgresql/driver.ts')).postgresqlDriver,
  }),
  redis: async () => ({
    settings: (await import('../drivers/redis/settings.ts')).redisSettings,
    driver: async () => (await import('../drivers/redis/driver.ts')).redisDriver,
  }),
  loki: async () => ({
    settings: (await import('../drivers/loki/settings.ts')).lokiSettings,
    driver: async () => (await import('../drivers/loki/driver.ts')).lokiDriver,
  }),
  zookeeper: async () => ({
    settings: (await import('../drivers/zookeeper/settings.ts')).zookeeperSettings,
    driver: async () => (await import('../drivers/zookeeper/driver.ts')).zookeeperDriver,
  }),
  s3: async () => ({
    settings: (await import('../drivers/s3/settings.ts')).s3Settings,
    driver: async () => (await import('../drivers/s3/driver.ts')).s3Driver,
  }),
  kafka: async () => ({
    settings: (await import('../drivers/kafka/settings.ts')).kafkaSettings,
    driver: async () => (await import('../drivers/kafka/driver.ts')).kafkaDriver,
  }),
  files: async () => ({
    settings: (await import('../drivers/files/settings.ts')).filesSettings,
    driver: async () => (await import('../drivers/files/driver.ts')).filesDriver,
  }),
  elasticsearch: async () => ({
    settings: (await import('../drivers/elasticsearch/settings.ts')).elasticsearchSettings,
    driver: async () => (await import('../drivers/elasticsearch/driver.ts')).elasticsearchDriver,
  }),
};

const FORMATS: Readonly<Record<string, () => Promise<FormatPlugin>>> = {
  restic: async () => ({
    settings: (await import('../stores/restic/settings.ts')).resticSettings,
    format: async () => (await import('../stores/restic/store.ts')).resticFormat,
  }),
  plain: async () => ({
    settings: (await import('../stores/plain/settings.ts')).plainSettings,
    format: async () => (await import('../stores/plain/store.ts')).plainFormat,
  }),
};

/** Servers of this machine that are started for a drill and gone after it. */
export async function processSandboxes(): Promise<SandboxRunner> {
  return (await import('../sandboxes/process/runner.ts')).processSandboxes();
}
/** A staging service that the configuration names. */
export async function externalSandboxes(options: ExternalOptions): Promise<SandboxRunner> {
  return (await import('../sandboxes/external/runner.ts')).externalSandbox(options);
}

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
    return {
      settings: (await import('../buckets/s3/settings.ts')).s3BucketSettings,
      open: async (_ctx, at, settings) => (await import('../buckets/s3/bucket.ts')).s3Bucket(at, settings),
      async posture(ctx, at, settings) {
        return await (await import('../buckets/s3/posture.ts')).s3Posture(ctx, at, settings);
      },
    };
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//.test(url)) {
    throw new Failure('settings-invalid', `bucket ${url}: only s3://… and directories are known`);
  }
  return {
    settings: (await import('../buckets/local/settings.ts')).localBucketSettings,
    open: async (_ctx, dir) => (await import('../buckets/local/bucket.ts')).localBucket(dir),
  };
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
