// What doctor wants to know of a cluster. Changes nothing.

import { isFailure } from '../../core/errors.ts';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { type Cluster, connect } from './cluster.ts';
import { finding, granting, rightsFindings } from './rights.ts';
import { listed } from './selection.ts';
import type { Settings } from './settings.ts';
import { suspendedTopics } from './suspended.ts';
import { coveredTopics } from './topics.ts';
import { versionOf } from './version.ts';

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  await using cluster = await connect(ctx, settings);
  const { clusterId } = await cluster.refresh(ctx);
  const topics = coveredTopics(cluster, { ...settings, named: [] });
  const names = topics.map(({ name }) => name);
  const offline = topics.filter(({ partitions }) => partitions.some(({ leader }) => leader < 0));
  const findings = [
    namedFinding(cluster, settings),
    ...(await rightsFindings(ctx, cluster, settings, names)),
    await suspendedFinding(ctx, cluster),
    offline.length === 0
      ? null
      : finding(
          'every partition has a leader',
          offline.map(({ name }) => name),
          'start the brokers that hold them',
        ),
  ];
  return {
    version: await versionOf(ctx, cluster),
    identity: clusterId,
    bytes: null,
    holdsData: names.length === 0 ? null : `${names.length} ${names.length === 1 ? 'topic' : 'topics'}`,
    clockSkewMs: null,
    findings: findings.filter((each) => each !== null),
  };
}

function namedFinding(cluster: Cluster, { named, covers }: Settings): Finding | null {
  const absent = named.filter((name) => covers(name) && !cluster.layout().topics.has(name));
  if (absent.length === 0) return null;
  const hint = `take them from topics, or ${granting(cluster, 'Describe', 'topic', absent)}`;
  return finding('the topics that are named are there', absent, hint);
}

async function suspendedFinding(ctx: Context, cluster: Cluster): Promise<Finding | null> {
  const left = await suspendedTopics(ctx, cluster).catch((error: unknown) => {
    if (!isFailure(error, 'privileges')) throw error;
    return null; // that the user may not Describe the group is a finding of its own
  });
  if (!left || left.size === 0) return null;
  const before = [...left].map(([topic, configs]) => `${topic} ${JSON.stringify(configs)}`);
  const hint = `set back what they had, or restore them again: ${listed(before, '; ')}`;
  return finding('no restore has left topics without retention', [...left.keys()], hint);
}
