// Whether the user has the rights that the page names, and the command that grants one that is not there.

import { AclOperations, describeClusterV0, metadataV12 } from '@platformatic/kafka';
import type { Context, Finding } from '../../core/model.ts';
import type { Cluster } from './cluster.ts';
import { groupsOf, hiddenGroups, mayHaveOffsets } from './groups.ts';
import { responseOf } from './refusals.ts';
import { listed } from './selection.ts';
import type { Settings } from './settings.ts';
import { MARKER_GROUP } from './suspended.ts';

const SHOWN = 10;
const BROKERS = 1;
/** A server too old to say what we may do says this. */
const NOT_TOLD = -2147483648;

export async function rightsFindings(
  ctx: Context,
  cluster: Cluster,
  settings: Settings,
  topics: readonly string[],
): Promise<Finding[]> {
  const rights = await topicRights(ctx, cluster, topics);
  const ofCluster = await clusterRights(ctx, cluster);
  return [
    ...topicFindings(cluster, rights),
    await groupFinding(ctx, cluster, settings),
    ...(ofCluster === NOT_TOLD || !settings.acls ? [] : [aclFinding(cluster, ofCluster)]),
    ...(ofCluster === NOT_TOLD ? [] : [restoreFinding(settings, ofCluster, rights)]),
  ];
}

interface TopicRights {
  readonly name: string;
  readonly bits: number;
}

async function topicRights(ctx: Context, cluster: Cluster, names: readonly string[]): Promise<TopicRights[]> {
  const said = await cluster.onAny(ctx, 'its topics', (connection) =>
    responseOf(metadataV12.api.async(connection, null, false, true)),
  );
  const wanted = new Set(names);
  return said.topics.flatMap(({ name, topicAuthorizedOperations: bits }) =>
    typeof name === 'string' && wanted.has(name) && bits !== NOT_TOLD ? [{ name, bits }] : [],
  );
}

async function clusterRights(ctx: Context, cluster: Cluster): Promise<number> {
  const said = await cluster.onAny(ctx, 'DescribeCluster', (connection) =>
    responseOf(describeClusterV0.api.async(connection, true, BROKERS)),
  );
  return said.clusterAuthorizedOperations;
}

function topicFindings(cluster: Cluster, rights: readonly TopicRights[]): Finding[] {
  const needed = { Read: AclOperations.READ, DescribeConfigs: AclOperations.DESCRIBE_CONFIGS };
  return Object.entries(needed).map(([right, operation]) => {
    const without = rights.filter(({ bits }) => !allows(bits, operation)).map(({ name }) => name);
    const hint = `leave them out (exclude), or ${granting(cluster, right, 'topic', without)}`;
    return finding(`the user may ${right} on every topic`, without, hint, `${rights.length} topics`);
  });
}

async function groupFinding(ctx: Context, cluster: Cluster, { coversGroup }: Settings): Promise<Finding> {
  const there = (await groupsOf(ctx, cluster)).filter((each) => mayHaveOffsets(each) && coversGroup(each.group));
  const asked = [...new Set([MARKER_GROUP, ...there.map(({ group }) => group)])];
  const hidden = await hiddenGroups(ctx, cluster, asked);
  const hint = granting(cluster, 'Describe', 'group', hidden);
  return finding('the user may Describe every group', hidden, hint, `${asked.length} groups`);
}

function aclFinding(cluster: Cluster, bits: number): Finding {
  const check = 'the user may Describe the cluster';
  if (allows(bits, AclOperations.DESCRIBE)) {
    return { check, verdict: 'pass', detail: 'access control lists and all groups can be seen' };
  }
  const detail = 'access control lists are not captured, and groups only where the user may Describe them';
  const hint = `set acls: false, or ${granting(cluster, 'Describe', 'cluster', [])}`;
  return { check, verdict: 'unknown', detail, hint };
}

/** Who backs up had better not be able to: it is told, and no fault. */
function restoreFinding({ acls }: Settings, bits: number, topics: readonly TopicRights[]): Finding {
  const ofCluster = { Create: AclOperations.CREATE, ...(acls && { Alter: AclOperations.ALTER }) };
  const ofTopics = {
    Write: AclOperations.WRITE,
    Delete: AclOperations.DELETE,
    AlterConfigs: AclOperations.ALTER_CONFIGS,
  };
  const lacking = (needed: Readonly<Record<string, number>>, all: readonly number[]): string[] =>
    Object.entries(needed).flatMap(([right, operation]) =>
      all.every((each) => allows(each, operation)) ? [] : [right],
    );
  const [here, there] = [
    lacking(ofCluster, [bits]),
    lacking(
      ofTopics,
      topics.map((each) => each.bits),
    ),
  ];
  const check = 'whether the user may restore is known';
  if (here.length + there.length === 0) return { check, verdict: 'pass', detail: 'it may' };
  const detail = `it may not (${[...here, ...there].join(', ')}): give a restore another user`;
  return { check, verdict: 'pass', detail, hint: 'docs/drivers/kafka.md has the rights that a restore needs' };
}

function allows(bits: number, operation: number): boolean {
  return (bits & (1 << operation)) !== 0;
}

/** Where a list denies it, that has to go besides. */
export function granting(
  { username, layout }: Cluster,
  right: string,
  kind: 'topic' | 'group' | 'cluster',
  names: readonly string[],
): string {
  const [broker] = layout().brokers.values();
  const where = broker ? `${broker.host}:${broker.port}` : 'HOST:PORT';
  const on =
    kind === 'cluster'
      ? ' --cluster'
      : names
          .slice(0, SHOWN)
          .map((name) => ` --${kind} '${name}'`)
          .join('');
  const who = `--allow-principal 'User:${username ?? 'ANONYMOUS'}'`;
  return `allow it: kafka-acls.sh --bootstrap-server ${where} --add ${who} --operation ${right}${on}`;
}

export function finding(check: string, wrong: readonly string[], hint: string, right = 'all of them'): Finding {
  if (wrong.length === 0) return { check, verdict: 'pass', detail: right };
  return { check, verdict: 'fail', detail: `not so: ${listed(wrong)}`, hint };
}
