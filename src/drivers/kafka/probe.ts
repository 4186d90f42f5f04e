// What doctor wants to know of a cluster. Changes nothing.

import { AclOperations, describeClusterV1, metadataV12 } from '@platformatic/kafka';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { type Cluster, connect } from './cluster.ts';
import { responseOf } from './refusals.ts';
import type { Settings } from './settings.ts';
import { suspendedTopics } from './suspended.ts';
import { coveredTopics } from './topics.ts';
import { versionOf } from './version.ts';

const SHOWN = 10;
const BROKERS = 1;
/** A server too old to say what we may do says this. */
const NOT_TOLD = -2147483648;

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  await using cluster = await connect(ctx, settings);
  const { clusterId } = await cluster.refresh(ctx);
  const topics = coveredTopics(cluster, { ...settings, named: [] });
  const names = topics.map(({ name }) => name);
  const offline = topics.filter(({ partitions }) => partitions.some(({ leader }) => leader < 0));
  const findings = [
    namedFinding(cluster, settings),
    ...(await rightsFindings(ctx, cluster, names)),
    ...(settings.acls ? [await clusterFinding(ctx, cluster)] : []),
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
  return finding('the topics that are named are there', absent, 'allow Describe on them, or take them from topics');
}

async function rightsFindings(ctx: Context, cluster: Cluster, names: readonly string[]): Promise<Finding[]> {
  const said = await cluster.onAny(ctx, 'its topics', (connection) =>
    responseOf(metadataV12.api.async(connection, null, false, true)),
  );
  const wanted = new Set(names);
  const rights = said.topics.flatMap(({ name, topicAuthorizedOperations: bits }) =>
    typeof name === 'string' && wanted.has(name) && bits !== NOT_TOLD ? [{ name, bits }] : [],
  );
  const needed = { Read: AclOperations.READ, DescribeConfigs: AclOperations.DESCRIBE_CONFIGS };
  return Object.entries(needed).map(([right, operation]) => {
    const without = rights.filter(({ bits }) => (bits & (1 << operation)) === 0).map(({ name }) => name);
    const check = `the user may ${right} on every topic`;
    return finding(check, without, `allow ${right} on them, or leave them out: exclude`, `${rights.length} topics`);
  });
}

async function clusterFinding(ctx: Context, cluster: Cluster): Promise<Finding> {
  const said = await cluster.onAny(ctx, 'DescribeCluster', (connection) =>
    responseOf(describeClusterV1.api.async(connection, true, BROKERS)),
  );
  const may = (said.clusterAuthorizedOperations & (1 << AclOperations.DESCRIBE)) !== 0;
  const check = 'the user may Describe the cluster';
  if (may) return { check, verdict: 'pass', detail: 'access control lists and all groups can be seen' };
  const detail = 'access control lists are not captured, and groups only where the user may Describe them';
  return { check, verdict: 'unknown', detail, hint: 'allow Describe on the cluster, or set acls: false' };
}

async function suspendedFinding(ctx: Context, cluster: Cluster): Promise<Finding | null> {
  const there = cluster.layout().topics;
  const left = [...(await suspendedTopics(ctx, cluster))].filter(([topic]) => there.has(topic));
  if (left.length === 0) return null;
  const before = left.map(([topic, configs]) => `${topic} ${JSON.stringify(configs)}`);
  const hint = `set back what they had, or restore them again: ${before.slice(0, SHOWN).join('; ')}`;
  return finding(
    'no restore has left topics without retention',
    left.map(([topic]) => topic),
    hint,
  );
}

function finding(check: string, wrong: readonly string[], hint: string, right = 'all of them'): Finding {
  if (wrong.length === 0) return { check, verdict: 'pass', detail: right };
  const more = wrong.length > SHOWN ? ` and ${wrong.length - SHOWN} more` : '';
  return { check, verdict: 'fail', detail: `not so: ${wrong.slice(0, SHOWN).join(', ')}${more}`, hint };
}
