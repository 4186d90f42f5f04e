// Opens what the configuration names: buckets with their decorators, stores, components.

import { throttledBucket } from '../buckets/throttled.ts';
import { withDeadline } from '../core/context.ts';
import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { nearest } from '../core/settings.ts';
import type { Bucket } from '../core/storage.ts';
import type { BackUpRequest } from '../engine/backup.ts';
import type { ComponentOf } from '../engine/external.ts';
import type { NamedStore, Reference, StackComponent } from '../engine/model.ts';
import type { ComponentConfig, Config, StoreConfig } from './config/model.ts';
import { componentHooks } from './hooks.ts';
import { externalSandboxes } from './plugins.ts';

/** For a store that the command does not need. */
const OTHER_MS_MAX = 15_000;

export interface OpenStore extends AsyncDisposable, NamedStore {
  /** Bytes that were put into its bucket since it was opened, the few of locks that are gone again included. */
  writtenBytes(): number;
}

export interface OpenStack extends AsyncDisposable {
  readonly stores: readonly OpenStore[];
  /** Stores that could not be opened; never all of them. */
  readonly failed: readonly { readonly name: string; readonly error: unknown }[];
  readonly components: readonly StackComponent[];
}

/** The stores and components of a command. Throws when no store opens, or a component's settings are wrong. */
export async function openStack(
  ctx: Context,
  config: Config,
  choice: { stores?: readonly string[] | undefined; components?: readonly string[] | 'all' | undefined },
): Promise<OpenStack> {
  const chosen = pickComponents(config, choice.components ?? 'all');
  const chosenStores = pickStores(config, choice.stores);
  // What is wrong with a component is told at once, not after all tries to reach a store.
  const settings = await Promise.all(chosen.map((each) => each.settings(ctx)));
  // Stores try their password in a thread of its own, and the drivers are loaded meanwhile.
  const [components, stores] = await Promise.allSettled([
    Promise.all(chosen.map((each, at) => openStackComponent(config, each, settings[at]))),
    openStores(ctx, chosenStores),
  ]);
  if (components.status === 'rejected') {
    // Nothing was begun in the stores: what closing them says must not hide what has to be mended.
    if (stores.status === 'fulfilled') await Promise.allSettled([stores.value[Symbol.asyncDispose]()]);
    throw components.reason;
  }
  if (stores.status === 'rejected') throw stores.reason;
  return { ...stores.value, components: components.value };
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
  if (names === 'all') return config.components;
  for (const name of names) {
    if (config.components.some((each) => each.name === name)) continue;
    throw unknown(name, 'component', config.components);
  }
  return config.components.filter(({ name }) => names.includes(name));
}

/** The bucket of a store, or a folder of it. */
export async function openBucket(ctx: Context, config: StoreConfig, folder = ''): Promise<Bucket> {
  const { bucket: settings } = await config.settings(ctx);
  const bucket = await config.bucket.open(ctx, config.url.replace(/\/*$/, folder), settings);
  return config.rateLimit === undefined ? bucket : throttledBucket(bucket, { bytesPerSecond: config.rateLimit });
}

/** It can be read without a word to another host, and without running a command. */
export function isNearby({ url, asksOthers }: StoreConfig): boolean {
  return !url.includes('://') && !asksOthers;
}

export async function openStore(ctx: Context, config: StoreConfig): Promise<OpenStore> {
  const { format: settings } = await config.settings(ctx);
  const bucket = await openBucket(ctx, config);
  let written = 0;
  const { putAll } = bucket;
  const counted: Bucket = {
    ...bucket,
    async put(putCtx, key, body, options) {
      const info = await bucket.put(putCtx, key, body, options);
      written += info.bytes;
      return info;
    },
    ...(putAll && {
      async putAll(putCtx, objects) {
        await putAll(putCtx, objects);
        for (const { body } of objects) written += body.length;
      },
    }),
  };
  try {
    const store = await (await config.format()).open(ctx, counted, settings);
    return {
      name: config.name,
      store,
      writtenBytes: () => written,
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

/** Opens each store; one that can't be opened is left out for the caller to tell, unless none is left. */
async function openStores(ctx: Context, configs: readonly StoreConfig[]): Promise<Omit<OpenStack, 'components'>> {
  const opened = await openEach(ctx, configs);
  const [first] = opened.failed;
  if (opened.stores.length === 0 && first) throw first.error;
  return opened;
}

async function openEach(
  ctx: Context,
  configs: readonly StoreConfig[],
  open = openStore,
): Promise<Omit<OpenStack, 'components'>> {
  const settled = await Promise.allSettled(configs.map((config) => open(ctx, config)));
  const stores: OpenStore[] = [];
  const failed: { name: string; error: unknown }[] = [];
  for (const [at, result] of settled.entries()) {
    if (result.status === 'fulfilled') stores.push(result.value);
    else failed.push({ name: configs[at]?.name ?? '', error: result.reason });
  }
  return {
    stores,
    failed,
    async [Symbol.asyncDispose]() {
      await Promise.all(stores.map((each) => each[Symbol.asyncDispose]()));
    },
  };
}

/**
 * The other stores, where one of the components notes in the store that it is restored from what a restore suspends.
 * The command needs none of them: one that can't be opened is only logged.
 */
export async function openOthers(
  ctx: Context,
  config: Config,
  { stores, failed, components }: OpenStack,
): Promise<AsyncDisposable & Pick<OpenStack, 'stores'>> {
  const known = new Set([...stores, ...failed].map(({ name }) => name));
  const notes = components.some(({ component }) => component.resume);
  const others = notes ? config.stores.filter(({ name }) => !known.has(name)) : [];
  const opened = await openEach(ctx, others, (each, store) =>
    withDeadline(each, OTHER_MS_MAX, `opening store ${store.name}`, (within) => openStore(within, store)),
  );
  for (const { name, error } of opened.failed) {
    ctx.log.info('a store does not tell what restores have suspended', { store: name, reason: messageOf(error) });
  }
  return opened;
}

/** Opens a component when it is asked for: most commands about stores need no password of a service. */
export function componentsOnDemand(ctx: Context, config: Config): ComponentOf {
  return async (name, kind) => {
    const found = config.components.find((each) => each.name === name);
    const item = found && (await openStackComponent(config, found, await found.settings(ctx)));
    return item?.kind === kind ? item.component : null;
  };
}

/** What must fit together, as the configuration says. */
export function referencesIn({ references }: Config): readonly Reference[] {
  return references.map(({ missing_max, orphans_max, ...each }) => {
    return { ...each, missingMax: missing_max, orphansMax: orphans_max };
  });
}

/** By component, those that point to it and are captured before it; undefined where all go at the same time. */
export function orderingOf({ plans, references }: Config, plan: string | undefined): BackUpRequest['after'] {
  if (plan === undefined || plans[plan]?.ordering !== 'references_first') return undefined;
  // Within one component all is of one cut.
  const pairs = references
    .map(({ from, to }) => [to.component, from.component] as const)
    .filter(([to, from]) => to !== from);
  return new Map(pairs.map(([to]) => [to, pairs.filter(([other]) => other === to).map(([, from]) => from)]));
}

/** Components alone, for commands that open stores by themselves or need none. */
export async function openComponents(
  ctx: Context,
  config: Config,
  names: readonly string[],
): Promise<readonly StackComponent[]> {
  const chosen = pickComponents(config, names);
  const settings = await Promise.all(chosen.map((each) => each.settings(ctx)));
  return await Promise.all(chosen.map((each, at) => openStackComponent(config, each, settings[at])));
}

function notMarked({ file, lineOf }: Config, name: string, kind: string): Failure {
  const path = ['components', name, 'markers'];
  const where = `${file}:${lineOf(path)}: ${path.join('.')}`;
  return new Failure('settings-invalid', `${where}: no markers can be written into ${kind} as it is configured here`, {
    hint: 'docs/markers.md says where they can be',
  });
}

function notFollowed({ file, lineOf }: Config, name: string, kind: string): Failure {
  const path = ['components', name, 'follow'];
  const where = `${file}:${lineOf(path)}: ${path.join('.')}`;
  return new Failure('settings-invalid', `${where}: ${kind} can not be followed as it is configured here`, {
    hint: `docs/drivers/${kind}.md says what can be; without follow: true it is as recoverable as its plans make it`,
  });
}

/** Its own secrets are resolved when a drill restores into it, and never else. */
function stagingOf({ staging, common }: ComponentConfig): StackComponent['sandbox'] {
  if (!staging) return undefined;
  return (guest, records) => ({
    name: 'external',
    async start(ctx, driver, version, ...rest) {
      const options = { staging: await staging(ctx), isolated: common.sandbox?.isolated, guest, records };
      return await (await externalSandboxes(options)).start(ctx, driver, version, ...rest);
    },
  });
}

async function openStackComponent(config: Config, each: ComponentConfig, settings: unknown): Promise<StackComponent> {
  const driver = await each.driver();
  const component = driver.open(settings);
  if (each.common.follow && !component.follow) throw notFollowed(config, each.name, driver.kind);
  if (each.common.markers !== undefined && !component.mark) throw notMarked(config, each.name, driver.kind);
  const tier = each.common.tier === undefined ? undefined : config.tiers[each.common.tier];
  return {
    name: each.name,
    kind: driver.kind,
    driver,
    component,
    settings,
    sandbox: stagingOf(each),
    hooks: componentHooks(each, component),
    restoreAfter: each.common.restore_after,
    checks: each.common.checks,
    objective: tier && { rtoMs: tier.rto, rpoMs: tier.rpo },
    markersMs: each.common.markers,
  };
}

function unknown(name: string, what: string, all: readonly { readonly name: string }[]): Failure {
  const names = all.map((each) => each.name);
  const near = nearest(name, names);
  return new Failure('usage', `there is no ${what} ${name}`, {
    hint: near ? `did you mean ${near}?` : `${what}s: ${names.join(', ')}`,
  });
}
