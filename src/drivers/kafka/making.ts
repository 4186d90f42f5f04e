// Topics of a target: made, configured, removed.

import { createAclsV3, createTopicsV7, deleteTopicsV6, initProducerIdV4 } from '@platformatic/kafka';
import { Failure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { Cluster, Layout } from './cluster.ts';
import type { Acl } from './facts.ts';
import { nameOf, refuse, responseOf } from './refusals.ts';
import type { Writer } from './sealing.ts';
import { type ChosenTopic, listed } from './selection.ts';
import { alterConfigs, SUSPENDED, suspend } from './suspended.ts';
import { batchesOf } from './topics.ts';

const TOPICS_AT_ONCE = 50;
/** A controller refuses requests that ask for more than ten thousand. */
const PARTITIONS_AT_ONCE = 1_000;
const CONFIGURED_AT_ONCE = 8;
const POLL_MS = 50;
/** The broker that they are sent to hands on what the controller does. */
const MAKING_MS = 30_000;

/**
 * Makes the topics, and suspends what would delete or rewrite what is about to come. Names what could not be set.
 * `made` gets the names of those that it has made, or may have made where no answer came: no others are ours to remove.
 */
export async function makeTopics(
  ctx: Context,
  cluster: Cluster,
  topics: readonly ChosenTopic[],
  made: Set<string>,
): Promise<{ warnings: string[]; missing: string[] }> {
  const warnings: string[] = [];
  const missing: string[] = [];
  const brokers = cluster.layout().brokers.size;
  const known = new Map<string, ReadonlySet<string>>();
  for (const some of someAtATime(topics)) {
    for (const [name, configs] of await createTopics(ctx, cluster, some, made)) known.set(name, configs);
  }
  await untilThere(ctx, cluster, topics);
  await mapBounded(topics, CONFIGURED_AT_ONCE, async ({ target, configs, replication_factor: replicas }) => {
    if (replicas > brokers)
      warnings.push(`topic ${target} has ${brokers} replicas instead of ${replicas}: no more brokers`);
    const insync = Number(configs['min.insync.replicas'] ?? 1);
    if (insync > Math.min(replicas, brokers)) {
      warnings.push(`topic ${target} will take no records with acks=all: min.insync.replicas is ${insync}`);
    }
    const names = known.get(target) ?? new Set([...Object.keys(SUSPENDED), ...Object.keys(configs)]);
    missing.push(...(await configure(ctx, cluster, { target, configs, names })));
  });
  return { warnings, missing };
}

function* someAtATime(topics: readonly ChosenTopic[]): Iterable<ChosenTopic[]> {
  let some: ChosenTopic[] = [];
  let partitions = 0;
  for (const topic of topics) {
    if (
      some.length === TOPICS_AT_ONCE ||
      (some.length > 0 && partitions + topic.partitions.length > PARTITIONS_AT_ONCE)
    ) {
      yield some;
      some = [];
      partitions = 0;
    }
    some.push(topic);
    partitions += topic.partitions.length;
  }
  if (some.length > 0) yield some;
}

async function createTopics(
  ctx: Context,
  cluster: Cluster,
  topics: readonly ChosenTopic[],
  made: Set<string>,
): Promise<[string, ReadonlySet<string>][]> {
  const brokers = cluster.layout().brokers.size;
  const wanted = topics.map(({ target, partitions, replication_factor: replicas }) => ({
    name: target,
    numPartitions: partitions.length,
    replicationFactor: Math.min(replicas, brokers),
    assignments: [],
    configs: [],
  }));
  const names = wanted.map(({ name }) => name);
  const said = await cluster.onController(ctx, `CreateTopics ${listed(names)}`, async (connection) => {
    const before = new Set(made);
    for (const name of names) made.add(name);
    const answer = await responseOf(createTopicsV7.api.async(connection, wanted, MAKING_MS, false));
    // One that is there is ours if it was asked for before, and the answer got lost.
    const refused = answer.topics.filter(({ name, errorCode }) => {
      const isOurs = nameOf(errorCode) === 'TOPIC_ALREADY_EXISTS' && before.has(name);
      return errorCode !== 0 && !isOurs;
    });
    for (const { name, errorCode } of refused) {
      if (!before.has(name) && nameOf(errorCode) !== 'REQUEST_TIMED_OUT') made.delete(name);
    }
    refuseOthers(cluster, refused);
    return answer.topics;
  });
  return said.flatMap(({ name, configs }): [string, ReadonlySet<string>][] =>
    configs ? [[name, new Set(configs.map((config) => config.name))]] : [],
  );
}

interface RefusedTopic {
  readonly name: string;
  readonly errorCode: number;
  readonly errorMessage?: string | null | undefined;
}

function refuseOthers({ where }: Cluster, refused: readonly RefusedTopic[]): void {
  const others = refused.filter(({ errorCode }) => nameOf(errorCode) === 'TOPIC_ALREADY_EXISTS');
  if (others.length > 0) {
    const names = listed(others.map(({ name }) => name));
    throw new Failure('target-not-empty', `${where}: somebody else has just made topics of these names: ${names}`, {
      hint: 'stop who writes to them (auto.create.topics.enable makes what is written to), then restore again',
    });
  }
  for (const { errorCode, errorMessage } of refused) refuse(errorCode, errorMessage ?? null);
}

/** One that the brokers do not take must not keep the others from being set. */
async function configure(
  ctx: Context,
  cluster: Cluster,
  { target, configs, names }: { target: string; configs: ChosenTopic['configs']; names: ReadonlySet<string> },
): Promise<string[]> {
  const missing: string[] = [];
  const known: [string, string | null][] = [];
  for (const [name, value] of Object.entries(configs)) {
    if (names.has(name)) known.push([name, value]);
    else missing.push(`${name}=${value} of topic ${target}: these brokers have no such setting`);
  }
  const taken = await alterConfigs(ctx, cluster, target, Object.fromEntries(known)).then(
    () => known,
    async () => {
      const each: [string, string | null][] = [];
      for (const [name, value] of known) {
        try {
          await alterConfigs(ctx, cluster, target, { [name]: value });
          each.push([name, value]);
        } catch (error) {
          missing.push(`${name}=${value} of topic ${target}: ${messageOf(error)}`);
        }
      }
      return each;
    },
  );
  await suspend(ctx, cluster, target, Object.fromEntries(taken), names);
  return missing;
}

export async function untilThere(
  ctx: Context,
  cluster: Cluster,
  topics: readonly { readonly target: string; readonly partitions: { readonly length: number } }[],
): Promise<void> {
  await untilNoneWaits(ctx, cluster, 'be made', (there) =>
    topics
      .filter(({ target, partitions }) => {
        const made = there.get(target)?.partitions ?? [];
        return made.length !== partitions.length || made.some(({ leader }) => leader < 0);
      })
      .map(({ target }) => target),
  );
}

/** They are gone when this resolves; what is not there is no error. */
export async function removeTopics(ctx: Context, cluster: Cluster, names: readonly string[]): Promise<void> {
  for (const some of batchesOf(names, TOPICS_AT_ONCE)) {
    const wanted = some.map((name) => ({ name }));
    await cluster.onController(ctx, `DeleteTopics ${listed(some)}`, async (connection) => {
      const said = await responseOf(deleteTopicsV6.api.async(connection, wanted, MAKING_MS));
      for (const { name, errorCode, errorMessage } of said.responses) {
        const isGone = nameOf(errorCode) === 'UNKNOWN_TOPIC_OR_PARTITION';
        // Who may not delete a topic is not told that it was never made.
        const isNone = nameOf(errorCode) === 'TOPIC_AUTHORIZATION_FAILED' && !cluster.layout().topics.has(name ?? '');
        if (!isGone && !isNone) refuse(errorCode, errorMessage ?? null);
      }
    });
  }
  await untilNoneWaits(ctx, cluster, 'be removed', (there) => names.filter((name) => there.has(name)));
}

/** As long as they become fewer: a thousand topics take their time. */
async function untilNoneWaits(
  ctx: Context,
  cluster: Cluster,
  what: string,
  waiting: (topics: Layout['topics']) => readonly string[],
): Promise<void> {
  let since = ctx.monotonicMs();
  let fewest = Number.POSITIVE_INFINITY;
  for (;;) {
    const left = waiting((await cluster.refresh(ctx)).topics);
    if (left.length === 0) return;
    if (left.length < fewest) since = ctx.monotonicMs();
    fewest = Math.min(fewest, left.length);
    if (ctx.monotonicMs() - since > Math.max(cluster.timeoutMs, MAKING_MS)) {
      throw new Failure('timeout', `${cluster.where}: waited in vain for topics to ${what}: ${listed(left)}`);
    }
    await ctx.sleep(left.length > TOPICS_AT_ONCE ? POLL_MS * 10 : POLL_MS);
  }
}

export async function writerOf(ctx: Context, cluster: Cluster): Promise<Writer> {
  const said = await cluster.onAny(ctx, 'InitProducerId', (connection) =>
    initProducerIdV4.api.async(connection, null, 0, -1n, -1),
  );
  return { producerId: said.producerId, epoch: said.producerEpoch };
}

/** Each that was refused, with the reason. */
export async function createAcls(ctx: Context, cluster: Cluster, acls: readonly Acl[]): Promise<(string | null)[]> {
  if (acls.length === 0) return [];
  const wanted = acls.map((acl) => ({
    resourceType: acl.resource_type,
    resourceName: acl.resource_name,
    resourcePatternType: acl.pattern_type,
    principal: acl.principal,
    host: acl.host,
    operation: acl.operation,
    permissionType: acl.permission,
  }));
  const said = await cluster.onController(ctx, 'CreateAcls', (connection) =>
    responseOf(createAclsV3.api.async(connection, wanted as Parameters<typeof createAclsV3.createRequest>[0])),
  );
  return said.results.map(({ errorCode, errorMessage }) =>
    errorCode === 0 ? null : (errorMessage ?? nameOf(errorCode)),
  );
}
