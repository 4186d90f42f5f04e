// Opens what the configuration names: buckets with their decorators, stores, components.

import { throttledBucket } from '../buckets/throttled.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Bucket, Component, Context, Store } from '../core/model.ts';
import { nearest } from '../core/settings.ts';
import type { ComponentConfig, Config, StoreConfig } from './config/load.ts';

export interface OpenStore extends AsyncDisposable {
  readonly name: string;
  readonly store: Store;
}

/** The stores by name, all when none is named, in the order of the configuration. */
export function pickStores(config: Config, names: readonly string[] | undefined): readonly StoreConfig[] {
  if (names === undefined) return config.stores;
  for (const name of names) {
    if (config.stores.some((each) => each.name === name)) continue;
    throw unknown(name, 'store', config.stores);
  }
  return config.stores.filter(({ name }) => names.includes(name));
}

export function pickComponents(config: Config, names: readonly string[] | 'all'): readonly ComponentConfig[] {
  if (names === 'all' || names.length === 0) return config.components;
  for (const name of names) {
    if (config.components.some((each) => each.name === name)) continue;
    throw unknown(name, 'component', config.components);
  }
  return config.components.filter(({ name }) => names.includes(name));
}

export async function openBucket(ctx: Context, config: StoreConfig): Promise<Bucket> {
  const { bucket: settings } = await config.settings(ctx);
  const bucket = config.bucket.open(ctx, config.url, settings);
  return config.rateLimit === undefined ? bucket : throttledBucket(bucket, { bytesPerSecond: config.rateLimit });
}

export async function openStore(ctx: Context, config: StoreConfig): Promise<OpenStore> {
  const { format: settings } = await config.settings(ctx);
  const bucket = await openBucket(ctx, config);
  try {
    const store = await config.format.open(ctx, bucket, settings);
    return {
      name: config.name,
      store,
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]();
        await bucket.close();
      },
    };
  } catch (error) {
    await bucket.close();
    if (!isFailure(error, 'missing')) throw error;
    throw new Failure('missing', `store ${config.name}: there is no store at ${config.url}`, {
      cause: error,
      hint: 'run lifeboat init to create it; if it should be there, check the bucket before anything else',
    });
  }
}

/** Opens each store; one that can't be opened is reported and left out, unless none is left. */
export async function openStores(
  ctx: Context,
  configs: readonly StoreConfig[],
): Promise<{ open: readonly OpenStore[]; failed: readonly { name: string; error: unknown }[] } & AsyncDisposable> {
  const settled = await Promise.allSettled(configs.map((config) => openStore(ctx, config)));
  const open: OpenStore[] = [];
  const failed: { name: string; error: unknown }[] = [];
  for (const [at, result] of settled.entries()) {
    if (result.status === 'fulfilled') open.push(result.value);
    else failed.push({ name: configs[at]?.name ?? '', error: result.reason });
  }
  const [first] = failed;
  if (open.length === 0 && first) throw first.error;
  for (const { name, error } of failed) {
    ctx.log.warn('store left out', { store: name, reason: error instanceof Error ? error.message : String(error) });
  }
  return {
    open,
    failed,
    async [Symbol.asyncDispose]() {
      await Promise.all(open.map((each) => each[Symbol.asyncDispose]()));
    },
  };
}

export async function openComponent(ctx: Context, config: ComponentConfig): Promise<Component> {
  return config.driver.open(await config.settings(ctx));
}

function unknown(name: string, what: string, all: readonly { readonly name: string }[]): Failure {
  const names = all.map((each) => each.name);
  const near = nearest(name, names);
  return new Failure('usage', `there is no ${what} ${name}`, {
    hint: near ? `did you mean ${near}?` : `${what}s: ${names.join(', ')}`,
  });
}
