// What deletes or rewrites by age is suspended while a topic is loaded. What it was is written down in the cluster
// itself, as metadata of an offset of a group of ours, so that it is known even if nobody comes back.

import {
  ConfigResourceTypes,
  IncrementalAlterConfigOperationTypes,
  incrementalAlterConfigsV1,
} from '@platformatic/kafka';
import { z } from 'zod';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Json } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { type Cluster, connect } from './cluster.ts';
import { commitOffsets, deleteOffsets, groupsOf, hiddenGroups, offsetsOfGroup } from './groups.ts';
import { mayNot, refuse, responseOf } from './refusals.ts';
import type { Settings } from './settings.ts';
import { type Configs, configsOf } from './topics.ts';

export const MARKER_GROUP = 'lifeboat-suspended';
const MARKED = 0;

/** What is set while records are loaded. Only what the brokers know is. */
export const SUSPENDED: Readonly<Record<string, string>> = {
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'cleanup.policy': 'delete',
  'message.timestamp.type': 'CreateTime',
  // Of brokers before 3.6, and where these have none of the two that came after it.
  'message.timestamp.difference.max.ms': '9223372036854775807',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'max.message.bytes': '1073741824',
  // No batch may be larger than a segment, and small ones are put together.
  'segment.bytes': '1073741824',
  'min.insync.replicas': '1',
};
const SETTLED_AT_ONCE = 8;
const configs = z.record(z.string(), z.string().nullable());
const noted = z.object({ topics: z.record(z.string(), configs) });

/** By topic, what it had of its own before. `groups` are those that there are. */
export async function marksOf(
  ctx: Context,
  cluster: Cluster,
  groups: readonly { readonly group: string }[],
): Promise<Map<string, Configs>> {
  if (!groups.some(({ group }) => group === MARKER_GROUP)) {
    const hidden = await hiddenGroups(ctx, cluster, [MARKER_GROUP]);
    if (hidden.length > 0) throw mayNot(cluster, `Describe group ${MARKER_GROUP}`);
    return new Map();
  }
  const marks = await offsetsOfGroup(ctx, cluster, MARKER_GROUP);
  return new Map(
    marks.flatMap(({ topic, metadata }): [string, Configs][] => {
      const parsed = configs.safeParse(jsonOf(metadata));
      return parsed.success ? [[topic, parsed.data]] : [];
    }),
  );
}

/** What has to be set back: what was set otherwise since is not suspended any more. Null where it had nothing. */
export function heldBack(now: Configs, before: Configs | undefined): Configs {
  if (!before) return {};
  const held = Object.entries(SUSPENDED).flatMap(([name, value]): [string, string | null][] => {
    const own = before[name] ?? null;
    return now[name] === value && own !== value ? [[name, own]] : [];
  });
  return Object.fromEntries(held);
}

/** By topic that is there, what has to be set back. */
export async function suspendedTopics(ctx: Context, cluster: Cluster): Promise<Map<string, Configs>> {
  const { topics: there } = await cluster.refresh(ctx);
  const marks = [...(await marksOf(ctx, cluster, await groupsOf(ctx, cluster)))].filter(([topic]) => there.has(topic));
  const names = marks.map(([topic]) => topic);
  const now = await configsOf(ctx, cluster, names);
  const held = marks.map(([topic, before]): [string, Configs] => [topic, heldBack(now.get(topic) ?? {}, before)]);
  return new Map(held.filter(([, back]) => Object.keys(back).length > 0));
}

/** What `resume` needs, as far as it is known before the topics are there. */
export function noteOf(topics: readonly { readonly target: string; readonly configs: Configs }[]): Json {
  return { topics: Object.fromEntries(topics.map(({ target, configs: own }) => [target, suspendable(own)])) };
}

function suspendable(own: Configs): Configs {
  return Object.fromEntries(Object.entries(own).filter(([name]) => name in SUSPENDED));
}

/** The mark is set before anything is suspended. */
export async function suspend(ctx: Context, cluster: Cluster, topic: string, own: Configs, known: ReadonlySet<string>) {
  const names = Object.keys(SUSPENDED).filter((name) => known.has(name));
  const mark = { topic, partition: MARKED, offset: 0, metadata: JSON.stringify(suspendable(own)) };
  const refused = await commitOffsets(ctx, cluster, MARKER_GROUP, [mark]);
  if (refused.length > 0) {
    throw new Failure('query-failed', `${cluster.where}: what topic ${topic} had can't be noted: ${refused.join()}`);
  }
  await alterConfigs(ctx, cluster, topic, Object.fromEntries(names.map((name) => [name, SUSPENDED[name] ?? null])));
}

/**
 * Sets back what is suspended; what was set back already is no error, and what others have set since stays. Of topics
 * whose mark is gone what is `noted` elsewhere counts. One that the brokers refuse must not keep the others suspended.
 */
export async function settle(
  ctx: Context,
  cluster: Cluster,
  topics: readonly string[],
  before: ReadonlyMap<string, Configs> = new Map(),
): Promise<void> {
  const { topics: there } = await cluster.refresh(ctx);
  const marks = await marksOf(ctx, cluster, await groupsOf(ctx, cluster));
  const wanted = topics.filter((topic) => there.has(topic) && (marks.has(topic) || before.has(topic)));
  const refused = await mapBounded(wanted, SETTLED_AT_ONCE, async (topic) => {
    try {
      const now = (await configsOf(ctx, cluster, [topic])).get(topic) ?? {};
      await alterConfigs(ctx, cluster, topic, heldBack(now, marks.get(topic) ?? before.get(topic)));
      return null;
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      return isFailure(error, 'missing') ? null : { topic, error };
    }
  });
  const failed = refused.filter((each) => each !== null);
  const left = new Set(failed.map(({ topic }) => topic));
  const done = wanted.filter((topic) => marks.has(topic) && !left.has(topic));
  await deleteOffsets(
    ctx,
    cluster,
    MARKER_GROUP,
    done.map((topic) => ({ topic, partition: MARKED })),
  );
  const [first] = failed;
  if (!first) return;
  const reasons = failed.map(({ error }) => messageOf(error)).join('; ');
  throw new Failure(isFailure(first.error) ? first.error.code : 'query-failed', reasons, {
    cause: first.error,
    hint: `lifeboat doctor says what these topics had: ${[...left].join(', ')}`,
  });
}

/** After a restore that was killed. */
export async function resumeSettings(ctx: Context, settings: Settings, what: unknown): Promise<void> {
  const { topics } = noted.parse(what);
  await using cluster = await connect(ctx, settings);
  await settle(ctx, cluster, Object.keys(topics), new Map(Object.entries(topics)));
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
