// What deletes or rewrites by age is suspended while a topic is loaded. What it was is written down in the cluster
// itself, as metadata of an offset of a group of ours, so that it is known even if nobody comes back.

import {
  ConfigResourceTypes,
  IncrementalAlterConfigOperationTypes,
  incrementalAlterConfigsV1,
} from '@platformatic/kafka';
import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { Cluster } from './cluster.ts';
import { commitOffsets, deleteGroup, groupsOf, hiddenGroups, offsetsOfGroup } from './groups.ts';
import { refuse, responseOf } from './refusals.ts';
import type { Configs } from './topics.ts';

export const MARKER_GROUP = 'lifeboat-suspended';

/** What is set while records are loaded. Only what the brokers know is. */
export const SUSPENDED: Readonly<Record<string, string>> = {
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'cleanup.policy': 'delete',
  'message.timestamp.type': 'CreateTime',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'max.message.bytes': '1073741824',
  'min.insync.replicas': '1',
};
const SETTLED_AT_ONCE = 8;
const configs = z.record(z.string(), z.string().nullable());

/** By topic, what it had before; null where it had nothing of its own. */
export async function suspendedTopics(ctx: Context, cluster: Cluster): Promise<Map<string, Configs>> {
  if (!(await groupsOf(ctx, cluster)).some(({ group }) => group === MARKER_GROUP)) {
    const hidden = await hiddenGroups(ctx, cluster, [MARKER_GROUP]);
    if (hidden.length === 0) return new Map();
    const who = cluster.username ? `user ${cluster.username}` : 'an anonymous user';
    throw new Failure('privileges', `${cluster.where}: ${who} may not: Describe group ${MARKER_GROUP}`, {
      hint: 'docs/drivers/kafka.md has the rights that are needed',
    });
  }
  const marks = await offsetsOfGroup(ctx, cluster, MARKER_GROUP);
  return new Map(
    marks.flatMap(({ topic, metadata }): [string, Configs][] => {
      const parsed = configs.safeParse(jsonOf(metadata));
      return parsed.success ? [[topic, parsed.data]] : [];
    }),
  );
}

/** The mark is set before anything is suspended. */
export async function suspend(ctx: Context, cluster: Cluster, topic: string, own: Configs, known: ReadonlySet<string>) {
  const names = Object.keys(SUSPENDED).filter((name) => known.has(name));
  const before = Object.fromEntries(names.map((name) => [name, own[name] ?? null]));
  const mark = { topic, partition: 0, offset: 0, metadata: JSON.stringify(before) };
  const refused = await commitOffsets(ctx, cluster, MARKER_GROUP, [mark]);
  if (refused.length > 0) {
    throw new Failure('query-failed', `${cluster.where}: what topic ${topic} had can't be noted: ${refused.join()}`);
  }
  await alterConfigs(ctx, cluster, topic, Object.fromEntries(names.map((name) => [name, SUSPENDED[name] ?? null])));
}

/** Sets back what is suspended; what was set back already is no error. */
export async function settle(ctx: Context, cluster: Cluster, topics: readonly string[]): Promise<void> {
  const { topics: there } = await cluster.refresh(ctx);
  const marked = await suspendedTopics(ctx, cluster);
  await mapBounded(topics, SETTLED_AT_ONCE, async (topic) => {
    const before = marked.get(topic);
    if (before && there.has(topic)) await alterConfigs(ctx, cluster, topic, before);
  });
  const left = [...marked.keys()].filter((topic) => !topics.includes(topic) && there.has(topic));
  if (marked.size > 0 && left.length === 0) await deleteGroup(ctx, cluster, MARKER_GROUP);
}

/** Null takes the brokers' default. */
export async function alterConfigs(ctx: Context, cluster: Cluster, topic: string, values: Configs): Promise<void> {
  const { SET, DELETE } = IncrementalAlterConfigOperationTypes;
  const operations = Object.entries(values).map(([name, value]) =>
    value === null ? { name, configOperation: DELETE } : { name, configOperation: SET, value },
  );
  if (operations.length === 0) return;
  const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configs: operations };
  await cluster.onController(ctx, `AlterConfigs of topic ${topic}`, async (connection) => {
    const said = await responseOf(incrementalAlterConfigsV1.api.async(connection, [resource], false));
    for (const { errorCode, errorMessage } of said.responses) refuse(errorCode, errorMessage ?? null);
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // none of ours
  }
}
