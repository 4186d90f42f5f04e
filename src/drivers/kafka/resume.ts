// Where groups go on: the offset that has as many records before it as the committed one had. What was committed is
// read back, because an answer without a complaint is no proof.

import type { Context } from '../../core/model.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterFacts, Committed } from './facts.ts';
import { commitOffsets, type Offset, offsetsOfGroup } from './groups.ts';
import type { Loaded } from './load.ts';
import { partitionKey } from './ranges.ts';
import type { Chosen } from './selection.ts';
import type { Settings } from './settings.ts';

interface ResumeWork {
  readonly cluster: Cluster;
  readonly facts: ClusterFacts;
  readonly chosen: Chosen;
  readonly settings: Settings;
  readonly loaded: ReadonlyMap<string, Loaded>;
  /** What was sent says where groups stand, not the point. */
  readonly counted: boolean;
}

/** What was not taken, each with its reason. */
export async function restoreOffsets(ctx: Context, work: ResumeWork): Promise<string[]> {
  const { cluster, facts, settings } = work;
  const missing: string[] = [];
  const done: { group: string; offsets: Offset[] }[] = [];
  for (const { group, offsets } of facts.groups) {
    const translated = offsets.flatMap((each) => translate(each, work));
    if (translated.length === 0 || !settings.coversGroup(group)) continue;
    const refused = await commitOffsets(ctx, cluster, group, translated);
    if (refused.length > 0) ctx.log.warn('offsets of a group were refused', { group, refused });
    done.push({ group, offsets: translated });
  }
  for (const { group, offsets } of done) {
    const there = new Map((await offsetsOfGroup(ctx, cluster, group)).map((each) => [partitionKey(each), each]));
    for (const wanted of offsets) {
      const found = there.get(partitionKey(wanted));
      if (found?.offset === wanted.offset && found.metadata === wanted.metadata) continue;
      const now = found ? `at ${found.offset}` : 'at no offset';
      missing.push(`group ${group} stands ${now} in ${partitionKey(wanted)} instead of ${wanted.offset}`);
    }
  }
  return missing;
}

function translate({ topic, partition, offset, position, metadata }: Committed, work: ResumeWork): Offset[] {
  const target = work.chosen.names.get(topic);
  const loaded = work.loaded.get(partitionKey({ topic, partition }));
  if (target === undefined || !loaded) return [];
  const before = work.counted ? (loaded.positions.get(offset) ?? 0) : position;
  return [{ topic: target, partition, offset: Math.min(before, loaded.end), metadata }];
}
