// Everything about a cluster but its records, at one moment.

import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { Cluster, Topic } from './cluster.ts';
import { type ClusterFacts, isCompacted } from './facts.ts';
import { type Group, groupsOf, mayHaveOffsets, type Offset, offsetsOfGroup } from './groups.ts';
import type { Settings } from './settings.ts';
import { heldBack, MARKER_GROUP, marksOf } from './suspended.ts';
import { aclsOf, type Configs, configsOf, coveredTopics, type Ends, endsOf, openTransactions } from './topics.ts';
import { versionOf } from './version.ts';

const ASKING = 8;
const ATTEMPTS = 5;

export interface Described {
  readonly topics: readonly DescribedTopic[];
  readonly groups: readonly { group: string; state: string; offsets: readonly Offset[] }[];
  readonly authorizer: ClusterFacts['authorizer'];
  readonly acls: ClusterFacts['acls'];
  readonly version: string;
  readonly clusterId: string;
  readonly at: Date;
  readonly warnings: readonly string[];
}
export interface DescribedTopic extends Topic {
  /** As they are, or as they were before a restore that has not yet set them back suspended some. */
  readonly configs: Configs;
  readonly isSuspended: boolean;
  readonly isCompacted: boolean;
  readonly ends: readonly Ends[];
}

/**
 * Offsets of groups come first and the ends of the partitions after them, so that no group has read what is not
 * captured.
 */
export async function describe(ctx: Context, cluster: Cluster, settings: Settings): Promise<Described> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await describeOnce(ctx, cluster, settings);
    } catch (error) {
      // A topic was deleted meanwhile.
      if (attempt === ATTEMPTS || !isFailure(error, 'missing')) throw error;
    }
  }
}

async function describeOnce(ctx: Context, cluster: Cluster, settings: Settings): Promise<Described> {
  const { clusterId } = await cluster.refresh(ctx);
  const version = await versionOf(ctx, cluster);
  const topics = coveredTopics(cluster, settings);
  const names = topics.map(({ name }) => name);
  const all = await groupsOf(ctx, cluster);
  const marks = await marksOf(ctx, cluster, all);
  const configs = await configsOf(ctx, cluster, names);
  const access = settings.acls ? await aclsOf(ctx, cluster) : { authorizer: 'left' as const, acls: [] };
  const { groups, warnings } = await committedOffsets(ctx, cluster, wantedOf(all, settings), new Set(names));
  const at = ctx.now();
  const ends = await endsOf(ctx, cluster, topics);
  const described = topics.map((topic): DescribedTopic => {
    const now = configs.get(topic.name) ?? {};
    const back = heldBack(now, marks.get(topic.name));
    const own = { ...now, ...back };
    const set = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null));
    return {
      ...topic,
      configs: set,
      isSuspended: Object.keys(back).length > 0,
      isCompacted: isCompacted(set),
      ends: ends.get(topic.name) ?? [],
    };
  });
  const open = await transactionWarnings(ctx, cluster, described);
  if (access.authorizer === 'denied') {
    warnings.push('access control lists were not captured: the user may not Describe the cluster');
  }
  return { topics: described, groups, ...access, version, clusterId, at, warnings: [...warnings, ...open] };
}

function wantedOf(groups: readonly Group[], { coversGroup }: Settings): Group[] {
  return groups.filter(({ group }) => group !== MARKER_GROUP && coversGroup(group));
}

async function committedOffsets(
  ctx: Context,
  cluster: Cluster,
  wanted: readonly Group[],
  topics: ReadonlySet<string>,
): Promise<{ groups: { group: string; state: string; offsets: Offset[] }[]; warnings: string[] }> {
  const readable = wanted.filter(mayHaveOffsets);
  const shared = wanted.filter((each) => !mayHaveOffsets(each)).map(({ group }) => group);
  const found = await mapBounded(readable, ASKING, async ({ group, state }) => {
    const offsets = await offsetsOfGroup(ctx, cluster, group);
    return { group, state, offsets: offsets.filter(({ topic }) => topics.has(topic)) };
  });
  const warnings = shared.length === 0 ? [] : [`where share groups are is not captured: ${shared.join(', ')}`];
  return { groups: found.filter(({ offsets }) => offsets.length > 0), warnings };
}

async function transactionWarnings(
  ctx: Context,
  cluster: Cluster,
  topics: readonly DescribedTopic[],
): Promise<string[]> {
  const waiting = topics.flatMap(({ name, ends }) =>
    ends.flatMap(({ stable, high }, partition) => (stable < high ? [{ topic: name, partition }] : [])),
  );
  const open = await openTransactions(ctx, cluster, waiting);
  return open.map(({ producerId, topic, partition, from }) => {
    return `${topic}/${partition}: a transaction of producer ${producerId} is open from offset ${from}: not captured from there`;
  });
}
