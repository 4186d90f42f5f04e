// What is in a cluster, in lines: topics, partitions with the digest of their records in order, groups with how many
// records they have behind them, and who may do what.

import { createHash } from 'node:crypto';
import { byKindAndName } from '../../core/inventory.ts';
import type { InventoryLine } from '../../core/model.ts';
import { type Acl, type ClusterFacts, isCompacted } from './facts.ts';
import { hexOf } from './hash.ts';
import type { PartitionState } from './state.ts';

/** In order. */
export function linesOf(
  facts: ClusterFacts,
  states: readonly PartitionState[],
  suspended: ReadonlySet<string>,
): InventoryLine[] {
  const topics = facts.topics.map(({ name, configs, partitions, replication_factor: replicas }): InventoryLine => {
    const held = suspended.has(name) ? { suspended: true } : {};
    const detail = { replication_factor: replicas, compacted: isCompacted(configs), configs, ...held };
    return { kind: 'topic', name, count: partitions.length, digest: digestOf(Object.entries(configs).sort()), detail };
  });
  const partitions = states.map(({ topic, partition, records, chain }): InventoryLine => {
    return { kind: 'partition', name: `${topic}/${partition}`, count: records, digest: chain && hexOf(chain) };
  });
  const groups = facts.groups.flatMap(({ group, offsets }) =>
    offsets.map(({ topic, partition, position, metadata }): InventoryLine => {
      const name = `${group}/${topic}/${partition}`;
      return { kind: 'group', name, count: position, digest: digestOf([position, metadata]) };
    }),
  );
  const acls = facts.acls.map((acl): InventoryLine => ({ kind: 'acl', name: nameOfAcl(acl), count: 1, digest: '' }));
  const unique = new Map(acls.map((line) => [line.name, line]));
  const detail = { authorizer: facts.authorizer };
  const cluster = { kind: 'facts', name: 'cluster', count: null, digest: null, detail };
  return [...topics, ...partitions, ...groups, ...unique.values(), cluster].sort(byKindAndName);
}

const RESOURCES = ['unknown', 'any', 'topic', 'group', 'cluster', 'transactional id', 'delegation token', 'user'];
/** In the order of their numbers. */
export const OPERATIONS = [
  ...['unknown', 'any', 'all', 'Read', 'Write', 'Create', 'Delete', 'Alter', 'Describe', 'ClusterAction'],
  ...['DescribeConfigs', 'AlterConfigs', 'IdempotentWrite', 'CreateTokens', 'DescribeTokens', 'TwoPhaseCommit'],
];
const PREFIXED = 4;
const ALLOW = 3;

/** 'User:shop may Read topic orders from *' */
export function nameOfAcl(acl: Acl): string {
  const verb = acl.permission === ALLOW ? 'may' : 'may not';
  const what = `${RESOURCES[acl.resource_type] ?? acl.resource_type}`;
  const name = `${acl.resource_name}${acl.pattern_type === PREFIXED ? '…' : ''}`;
  return `${acl.principal} ${verb} ${OPERATIONS[acl.operation] ?? acl.operation} ${what} ${name} from ${acl.host}`;
}

function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);
}
