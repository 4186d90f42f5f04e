// Kafka: Lifeboat beside the console tools of Kafka itself, which write the values to a file and send them again: no
// keys, no times, no offsets of groups, and nothing is looked at.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { liveContext } from '../src/core/testing.ts';
import { kafkaDriver } from '../src/drivers/kafka/driver.ts';
import { withAdmin } from '../src/drivers/kafka/testing.ts';
import { type Kafka, type KafkaName, startKafka, toolCommand } from '../test/servers/kafka.ts';
import { type Lifeboat, lifeboatWith, resticStore } from './lifeboat.ts';
import { type Candidate, compared, interleaved, measure, type Row, type Stage } from './measure.ts';

export interface KafkaSizes {
  readonly records: number;
  readonly rounds: number;
  readonly server: KafkaName;
}

const RECORD_BYTES = 200;
const PARTITIONS = 3;
const TOPIC = 'bench';
const WALL_MAX = 1.0;
const PEERS = { capture: 'kafka-console-consumer', restore: 'kafka-console-producer' } as const;
const STORES = ['plain', 'restic'] as const;
type Verb = keyof typeof PEERS;

function nameOf(verb: Verb, store: string): string {
  return `Kafka ${verb}, ${store} store`;
}

export async function compareWithConsole(
  dir: string,
  { records, rounds, server }: KafkaSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using kafka = await startKafka(server);
  say(`filling ${server}`);
  await createTopic(kafka, TOPIC);
  await fill(kafka, records);
  const file = join(dir, 'theirs.txt');
  const stages = (): Stage[] => {
    const ours = STORES.map((store) => ({ store, place: join(dir, store), run: null as Lifeboat | null }));
    const captures = ours.map((each): Candidate => {
      return {
        name: nameOf('capture', each.store),
        async run() {
          each.run = await configured(each, kafka);
          return await each.run(['backup']);
        },
      };
    });
    const restores = ours.map((each): Candidate => {
      const back = `${each.store}-back`;
      return {
        name: nameOf('restore', each.store),
        async run() {
          if (!each.run) throw new Error('there is no backup to restore');
          const figures = await each.run(['restore', 'latest', '--yes', '--rename', `${TOPIC}=${back}`]);
          await checkOurs(kafka, back, records);
          await removeTopic(kafka, back);
          return figures;
        },
      };
    });
    const theirs = consoleTools(kafka, { file, records });
    return [
      { before: () => clear(ours.map(({ place }) => place)), candidates: [theirs.capture, ...captures] },
      { candidates: [theirs.restore, ...restores] },
    ];
  };
  const taken = await interleaved(rounds, stages, say);
  const size = `${records.toLocaleString('en')} records of ${RECORD_BYTES} B`;
  return STORES.flatMap((store) =>
    (['capture', 'restore'] as const).map((verb) => {
      const name = nameOf(verb, store);
      return compared(taken, `${name}, ${size}`, { ours: name, theirs: PEERS[verb], limits: { wall: WALL_MAX } });
    }),
  );
}

function clear(places: readonly string[]): void {
  for (const place of places) rmSync(place, { recursive: true, force: true });
}

async function configured({ store, place }: { store: string; place: string }, { brokers }: Kafka): Promise<Lifeboat> {
  mkdirSync(place);
  const bucket = join(place, 'store');
  return await lifeboatWith(join(place, 'lifeboat.yaml'), {
    store: store === 'plain' ? { format: 'plain', layout: 'dated', bucket } : resticStore(bucket),
    component: { kind: 'kafka', brokers, topics: [TOPIC] },
  });
}

/** As their scripts start them. What they made is checked after each. */
function consoleTools(
  kafka: Kafka,
  { file, records }: { file: string; records: number },
): Readonly<Record<Verb, Candidate>> {
  const at = ['--bootstrap-server', kafka.brokers];
  const consume = (topic: string, to: string): string[] => {
    const args = [...at, '--topic', topic, '--from-beginning', '--max-messages', `${records}`];
    return ['-c', `exec "$@" > '${to}'`, 'sh', ...toolCommand(kafka.lib, 'consumer', args)];
  };
  return {
    capture: {
      name: PEERS.capture,
      run: () => measure('/bin/sh', consume(TOPIC, file), process.env),
    },
    restore: {
      name: PEERS.restore,
      async run() {
        const [topic, again] = ['theirs-back', `${file}.again`];
        await createTopic(kafka, topic);
        const produce = toolCommand(kafka.lib, 'producer', [...at, '--topic', topic]);
        const figures = await measure('/bin/sh', ['-c', `exec "$@" < '${file}'`, 'sh', ...produce], process.env);
        await measure('/bin/sh', consume(topic, again), process.env);
        assert.deepEqual(await digestOf(again), await digestOf(file), 'their records came back');
        rmSync(again);
        await removeTopic(kafka, topic);
        return figures;
      },
    },
  };
}

/** As many offsets, and the same records in the same order in each partition. */
async function checkOurs({ brokers }: Kafka, topic: string, records: number): Promise<void> {
  const ctx = liveContext();
  const lines = await Promise.all(
    [TOPIC, topic].map(async (name) => {
      const inventory = await kafkaDriver.open({ brokers, topics: [name] }).inventory(ctx);
      const all = await Array.fromAsync(inventory.lines(ctx));
      return all.filter(({ kind }) => kind === 'partition').map(({ count, digest }) => ({ count, digest }));
    }),
  );
  assert.deepEqual(lines[1], lines[0], 'our records came back');
  assert.equal(
    lines[1]?.reduce((sum, { count }) => sum + (count ?? 0), 0),
    records,
  );
}

/** In no order: the sum of the digests of all lines. */
async function digestOf(file: string): Promise<{ lines: number; sum: bigint }> {
  let [lines, sum] = [0, 0n];
  for await (const line of createInterface({ input: createReadStream(file) })) {
    sum = BigInt.asUintN(64, sum + createHash('sha1').update(line).digest().readBigUInt64BE());
    lines += 1;
  }
  return { lines, sum };
}

async function fill(kafka: Kafka, records: number): Promise<void> {
  const size = ['--num-records', `${records}`, '--record-size', `${RECORD_BYTES}`, '--throughput', '-1'];
  const to = ['--topic', TOPIC, '--producer-props', `bootstrap.servers=${kafka.brokers}`, 'acks=all'];
  const [program = '', ...args] = toolCommand(kafka.lib, 'producer-performance', [...size, ...to]);
  await measure(program, args, process.env);
}

async function createTopic({ brokers }: Kafka, topic: string): Promise<void> {
  await withAdmin(brokers, (admin) => admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: 1 }));
}

async function removeTopic({ brokers }: Kafka, topic: string): Promise<void> {
  await withAdmin(brokers, (admin) => admin.deleteTopics({ topics: [topic] }));
}
