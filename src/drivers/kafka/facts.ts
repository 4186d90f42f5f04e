// What a cluster has besides records: topics with their configuration, access control lists, offsets of groups. It lies
// in cluster.json of each point.

import { z } from 'zod';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, Json, Sink, Source } from '../../core/model.ts';

const CLUSTER_PART = 'cluster.json';

export const offsetFact = z.number().int().nonnegative();
const partition = z.object({
  partition: z.number().int().nonnegative(),
  /** The first offset that was there, and the one after the last. */
  start: offsetFact,
  end: offsetFact,
});
export const topicFacts = z.object({
  name: z.string().regex(/^[\w.-]{1,249}$/),
  id: z.string(),
  replication_factor: z.number().int().positive(),
  /** Only what differs from the brokers' defaults. */
  configs: z.record(z.string(), z.string().nullable()),
  partitions: z.array(partition).nonempty(),
});
export const aclFacts = z.object({
  resource_type: z.number().int(),
  resource_name: z.string(),
  pattern_type: z.number().int(),
  principal: z.string(),
  host: z.string(),
  operation: z.number().int(),
  permission: z.number().int(),
});
export const committedFacts = z.object({
  topic: z.string(),
  partition: z.number().int().nonnegative(),
  offset: offsetFact,
  metadata: z.string(),
  /** How many of the partition's records come before it. */
  position: offsetFact,
});
const group = z.object({ group: z.string(), state: z.string(), offsets: z.array(committedFacts) });
/** 'none': the cluster has no access control. 'denied': we may not look at it. 'left': it was not wanted. */
export const authorizerFacts = z.enum(['none', 'readable', 'denied', 'left']);

const schema = z.object({
  format: z.literal(1),
  cluster: z.string(),
  /** When it was looked at; points of before journals do not say it. */
  at: z.iso.datetime().nullable().default(null),
  version: z.string(),
  authorizer: authorizerFacts,
  topics: z.array(topicFacts),
  acls: z.array(aclFacts),
  groups: z.array(group),
});

export type ClusterFacts = z.output<typeof schema>;
export type TopicFacts = z.output<typeof topicFacts>;
export type Acl = z.output<typeof aclFacts>;
export type Committed = z.output<typeof committedFacts>;
export type Authorizer = z.output<typeof authorizerFacts>;

export async function putFacts(ctx: Context, sink: Sink, facts: ClusterFacts): Promise<void> {
  await sink.put(ctx, CLUSTER_PART, bytesOf(JSON.stringify(facts satisfies Json)));
}

export async function factsOf(ctx: Context, source: Source): Promise<ClusterFacts> {
  const text = (await readAll(source.get(ctx, CLUSTER_PART), 512 * 1024 * 1024)).toString('utf8');
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Failure('malformed', `${CLUSTER_PART} of ${source.point}/${source.component} is not what we write`, {
      cause,
    });
  }
}

/** Compaction takes records at any time: what is there later is less, and no loss. */
export function isCompacted(configs: Readonly<Record<string, string | null>>): boolean {
  return (configs['cleanup.policy'] ?? '').includes('compact');
}

/** It is about one topic by its name. */
export function isOfTopic(acl: Acl): boolean {
  const TOPIC = 2;
  const LITERAL = 3;
  return acl.resource_type === TOPIC && acl.pattern_type === LITERAL;
}
