// What a journal says of a cluster up to some moment, and how the cluster differs from that.

import { isDeepStrictEqual } from 'node:util';
import type { Json } from '../../../core/model.ts';
import type { Described } from '../describe.ts';
import type { Acl, Authorizer, TopicFacts } from '../facts.ts';
import type { Changes, Header, LoggedGroup } from './format.ts';

/** Mutable: it goes on with each range. */
export interface State {
  version: string;
  authorizer: Authorizer;
  acls: readonly Acl[];
  readonly topics: Map<string, TopicFacts>;
  readonly groups: Map<string, LoggedGroup>;
  /** By `logKey`: where a partition's log is gone on with. */
  readonly next: Map<string, number>;
}

/** Which log it is. */
export function sourceOf(clusterId: string): Json {
  return { cluster: clusterId };
}

export function logKey({ id, partition }: { readonly id: string; readonly partition: number }): string {
  return `${id}/${partition}`;
}

export function emptyState(): State {
  return { version: '', authorizer: 'left', acls: [], topics: new Map(), groups: new Map(), next: new Map() };
}

export function applyLogs({ next }: State, { logs }: Header): void {
  for (const each of logs) if (each.piece === undefined || each.piece === 'last') next.set(logKey(each), each.to);
}

export function applyChanges(state: State, changes: Changes): void {
  if (changes.all) {
    state.topics.clear();
    state.groups.clear();
    state.next.clear();
  }
  state.version = changes.version;
  state.authorizer = changes.authorizer;
  if (changes.acls) state.acls = changes.acls;
  for (const name of changes.topics_gone) forget(state, name);
  for (const name of changes.groups_gone) state.groups.delete(name);
  for (const topic of changes.topics) {
    if (state.topics.get(topic.name)?.id !== topic.id) forget(state, topic.name);
    state.topics.set(topic.name, topic);
    for (const { partition, end } of topic.partitions) state.next.set(logKey({ id: topic.id, partition }), end);
  }
  for (const group of changes.groups) state.groups.set(group.group, group);
}

function forget({ topics, next }: State, name: string): void {
  const gone = topics.get(name);
  for (const { partition } of gone?.partitions ?? []) next.delete(logKey({ id: gone?.id ?? '', partition }));
  topics.delete(name);
}

/** All that there is. */
export function wholeOf(state: State): Changes {
  const { version, authorizer, acls } = state;
  const topics = [...state.topics.values()].map((topic) => ({
    ...topic,
    partitions: topic.partitions.map((each) => {
      return { ...each, end: state.next.get(logKey({ id: topic.id, partition: each.partition })) ?? each.end };
    }) as TopicFacts['partitions'],
  }));
  const groups = [...state.groups.values()];
  return { all: true, version, authorizer, topics, topics_gone: [], groups, groups_gone: [], acls: [...acls] };
}

/** The cluster as it is seen now. Logs are gone on with where `state` is; new ones from their start on. */
export function seenState({ version, authorizer, acls, topics, groups }: Described, state: State): State {
  const seen: State = { ...emptyState(), version, authorizer, acls };
  for (const { name, id, partitions, configs, ends } of topics) {
    const all = ends.map(({ start }, partition) => {
      const end = state.next.get(logKey({ id, partition })) ?? start;
      seen.next.set(logKey({ id, partition }), end);
      return { partition, start, end };
    });
    const replicas = Math.max(1, ...partitions.map((each) => each.replicas));
    const own = all as TopicFacts['partitions'];
    if (all.length > 0) seen.topics.set(name, { name, id, replication_factor: replicas, configs, partitions: own });
  }
  for (const group of groups) seen.groups.set(group.group, { ...group, offsets: [...group.offsets] });
  return seen;
}

/** Null when nothing is different. Where logs are is none of it, nor are the states of groups. */
export function changesTo(before: State, now: State): Changes | null {
  const topics = [...now.topics.values()].filter((topic) => !isSameTopic(topic, before.topics.get(topic.name)));
  const groups = [...now.groups.values()].filter(({ group, offsets }) => {
    return !isDeepStrictEqual(offsets, before.groups.get(group)?.offsets);
  });
  const topicsGone = [...before.topics.keys()].filter((name) => !now.topics.has(name));
  const groupsGone = [...before.groups.keys()].filter((name) => !now.groups.has(name));
  const acls = isDeepStrictEqual(now.acls, before.acls) ? null : [...now.acls];
  const { version, authorizer } = now;
  const isSame = version === before.version && authorizer === before.authorizer && acls === null;
  if (isSame && [topics, groups, topicsGone, groupsGone].every(({ length }) => length === 0)) return null;
  return { all: false, version, authorizer, topics, topics_gone: topicsGone, groups, groups_gone: groupsGone, acls };
}

function isSameTopic(topic: TopicFacts, before: TopicFacts | undefined): boolean {
  const { partitions, ...rest } = topic;
  const { partitions: old, ...own } = before ?? { partitions: [] };
  return partitions.length === old.length && isDeepStrictEqual(rest, own);
}
