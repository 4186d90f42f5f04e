// What users ask of a cluster: numbers for checks, and which records there are for references from elsewhere.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { eachRecord, recordsOf } from './batches.ts';
import { type Cluster, connect } from './cluster.ts';
import { offsetsOfGroup } from './groups.ts';
import { readLog } from './reading.ts';
import type { Settings } from './settings.ts';
import { endsOf } from './topics.ts';

/** 'records TOPIC' counts them; 'lag GROUP' is how many offsets a group has before it in the topics that it reads. */
export async function measure(ctx: Context, settings: Settings, query: string): Promise<number> {
  const [, what, name = ''] = /^\s*(records|lag)\s+(\S+)\s*$/.exec(query) ?? [];
  if (what === undefined) {
    throw new Failure('query-failed', `'${query}' is no question for kafka`, {
      hint: 'ask records TOPIC or lag GROUP',
    });
  }
  await using cluster = await connect(ctx, settings);
  return what === 'lag' ? await lagOf(ctx, cluster, name) : await countRecords(ctx, cluster, name);
}

/** Every record of a topic as 'PARTITION/OFFSET'. */
export async function* names(ctx: Context, settings: Settings, topic: string): AsyncIterable<string> {
  await using cluster = await connect(ctx, settings);
  for await (const { partition, offset } of recordsIn(ctx, cluster, topic)) yield `${partition}/${offset}`;
}

/** As `names` has them. Only the partitions that are asked for are read, between the offsets that are. */
export async function holds(
  ctx: Context,
  settings: Settings,
  topic: string,
  asked: readonly string[],
): Promise<boolean[]> {
  await using cluster = await connect(ctx, settings);
  const places = asked.map((name) => /^(\d{1,9})\/(\d{1,15})$/.exec(name)?.slice(1).map(Number) ?? null);
  const found = new Set<string>();
  const wanted = new Map<number, { from: number; to: number }>();
  for (const place of places) {
    if (!place) continue;
    const [partition = 0, offset = 0] = place;
    const { from, to } = wanted.get(partition) ?? { from: offset, to: offset };
    wanted.set(partition, { from: Math.min(from, offset), to: Math.max(to, offset) });
  }
  const names = new Set(asked);
  for await (const { partition, offset } of recordsIn(ctx, cluster, topic, wanted)) {
    const name = `${partition}/${offset}`;
    if (names.has(name)) found.add(name);
  }
  return places.map((place) => place !== null && found.has(`${place[0]}/${place[1]}`));
}

async function* recordsIn(
  ctx: Context,
  cluster: Cluster,
  topic: string,
  window?: ReadonlyMap<number, { from: number; to: number }>,
): AsyncIterable<{ partition: number; offset: number }> {
  const there = cluster.layout().topics.get(topic);
  if (!there) throw new Failure('missing', `${cluster.where} has no topic ${topic}`);
  const ends = (await endsOf(ctx, cluster, [there])).get(topic) ?? [];
  for (const [partition, { start, stable }] of ends.entries()) {
    const part = window ? window.get(partition) : { from: start, to: stable };
    if (!part) continue;
    const range = { from: Math.max(start, part.from), to: Math.min(stable, part.to + 1), onGone: () => undefined };
    const log = { topic, topicId: there.id, partition };
    for await (const batches of readLog(ctx, cluster, log, range)) {
      for (const batch of batches) {
        const offsets: number[] = [];
        eachRecord(batch, recordsOf(batch, topic), topic, ({ offset }) => offsets.push(offset));
        for (const offset of offsets) if (offset >= range.from) yield { partition, offset };
      }
    }
  }
}

async function countRecords(ctx: Context, cluster: Cluster, topic: string): Promise<number> {
  let count = 0;
  for await (const _ of recordsIn(ctx, cluster, topic)) count += 1;
  return count;
}

async function lagOf(ctx: Context, cluster: Cluster, group: string): Promise<number> {
  const offsets = await offsetsOfGroup(ctx, cluster, group);
  if (offsets.length === 0) throw new Failure('missing', `${cluster.where} has no offsets of group ${group}`);
  const topics = [...new Set(offsets.map(({ topic }) => topic))].flatMap(
    (name) => cluster.layout().topics.get(name) ?? [],
  );
  const ends = await endsOf(ctx, cluster, topics);
  const lags = offsets.map(({ topic, partition, offset }) => {
    const end = ends.get(topic)?.[partition];
    return end ? Math.max(0, end.stable - Math.max(offset, end.start)) : 0;
  });
  return lags.reduce((sum, lag) => sum + lag, 0);
}
