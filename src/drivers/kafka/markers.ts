// Markers: records of the topic lifeboat.marker, all of one key, of which compaction keeps the last.

import { createTopicsV7 } from '@platformatic/kafka';
import { Failure } from '../../core/errors.ts';
import { type FoundMarker, type Marker, markerText, newestOf, readMarker } from '../../core/marker.ts';
import type { Context } from '../../core/model.ts';
import { eachRecord, recordsOf, valueIn } from './batches.ts';
import { type Cluster, connect } from './cluster.ts';
import { removeTopics, untilThere } from './making.ts';
import { produceBatch } from './protocol.ts';
import { readLog } from './reading.ts';
import { nameOf, refuse, responseOf } from './refusals.ts';
import { builderOf, plainRecord } from './sealing.ts';
import type { Settings } from './settings.ts';
import { endsOf } from './topics.ts';

const TOPIC = 'lifeboat.marker';
const KEY = Buffer.from('marker');
const MAKING_MS = 30_000;
const BATCH_BYTES = 1024;
/** Offsets before the end that are read: two may write at a time. */
const READ_BACK = 100;
const NOBODY = { producerId: -1n, epoch: -1 };
const UNNUMBERED = -1;
/** As many replicas as the brokers make by themselves. */
const REPLICAS = -1;
/** Compaction leaves the segment alone that is written to: it is small. */
const CONFIGS = { 'cleanup.policy': 'compact', 'segment.bytes': '1048576', 'segment.ms': '86400000' };

export async function mark(ctx: Context, settings: Settings, marked: Marker): Promise<void> {
  if (!settings.covers(TOPIC)) {
    throw new Failure('settings-invalid', `kafka: topics and exclude leave out ${TOPIC}`, {
      hint: `a marker that is not captured tells nothing: add 'lifeboat.*' to topics, or take markers from the component`,
    });
  }
  await using cluster = await connect(ctx, settings);
  if (!cluster.layout().topics.has(TOPIC)) await makeTopic(ctx, cluster);
  await markersIn(ctx, cluster);
  const builder = builderOf(0, BATCH_BYTES);
  const record = plainRecord(KEY, Buffer.from(markerText(marked)));
  const time = Date.parse(marked.at);
  builder.add(record, { offset: 0, time, timeHigh: 0, timeLow: 0, from: 0, to: record.length });
  const { bytes } = builder.seal(NOBODY, UNNUMBERED);
  const at = { topic: TOPIC, partition: 0 };
  await cluster.onLeader(ctx, at, `write to topic ${TOPIC}`, async (connection) => {
    const { errorCode, message } = await produceBatch(connection, at, bytes, cluster.timeoutMs);
    refuse(errorCode, message);
  });
}

export async function marker(ctx: Context, settings: Settings): Promise<FoundMarker | null> {
  await using cluster = await connect(ctx, settings);
  return newestOf(await markersIn(ctx, cluster));
}

export async function unmark(ctx: Context, settings: Settings): Promise<readonly string[]> {
  await using cluster = await connect(ctx, settings);
  if (!cluster.layout().topics.has(TOPIC)) return [];
  await markersIn(ctx, cluster);
  await removeTopics(ctx, cluster, [TOPIC]);
  return [`topic ${TOPIC}`];
}

/** The last ones. */
async function markersIn(ctx: Context, cluster: Cluster): Promise<readonly FoundMarker[]> {
  const topic = cluster.layout().topics.get(TOPIC);
  if (!topic) return [];
  const found: FoundMarker[] = [];
  const where = `topic ${TOPIC}`;
  const ends = (await endsOf(ctx, cluster, [topic])).get(TOPIC) ?? [];
  for (const [partition, { start, stable }] of ends.entries()) {
    const range = { from: Math.max(start, stable - READ_BACK), to: stable, onGone: () => undefined };
    for await (const batches of readLog(ctx, cluster, { topic: TOPIC, topicId: topic.id, partition }, range)) {
      for (const batch of batches) {
        const data = recordsOf(batch, where);
        eachRecord(batch, data, where, (record) => {
          found.push(readMarker(valueIn(data, record)?.toString('utf8') ?? '', where));
        });
      }
    }
  }
  return found;
}

async function makeTopic(ctx: Context, cluster: Cluster): Promise<void> {
  const configs = Object.entries(CONFIGS).map(([name, value]) => ({ name, value }));
  const wanted = [{ name: TOPIC, numPartitions: 1, replicationFactor: REPLICAS, assignments: [], configs }];
  await cluster.onController(ctx, `CreateTopics ${TOPIC}`, async (connection) => {
    const answer = await responseOf(createTopicsV7.api.async(connection, wanted, MAKING_MS, false));
    for (const { errorCode, errorMessage } of answer.topics) {
      if (nameOf(errorCode) !== 'TOPIC_ALREADY_EXISTS') refuse(errorCode, errorMessage ?? null);
    }
  });
  await untilThere(ctx, cluster, [{ target: TOPIC, partitions: [0] }]);
}
