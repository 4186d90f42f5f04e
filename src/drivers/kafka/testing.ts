// Data for tests: a shop with records of every kind, some of them in transactions, and groups that have read some.

import { connect as connectTo, createServer, type Socket } from 'node:net';
import { Admin, type MessageToProduce, Producer } from '@platformatic/kafka';
import { type Kafka, type KafkaName, startKafka } from '../../../test/servers/kafka.ts';
import type { Context } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import type { DriverRig, FilledService } from '../driver.suite.ts';
import { type Cluster, connect } from './cluster.ts';
import { commitOffsets } from './groups.ts';
import { readSettings } from './settings.ts';

type Bytes = Buffer | null;
type BinaryProducer = Producer<Bytes, Bytes, Buffer, Bytes>;
export type BinaryMessage = MessageToProduce<Bytes, Bytes, Buffer, Bytes>;

export async function withAdmin<R>(brokers: string, work: (admin: Admin) => Promise<R>): Promise<R> {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: brokers.split(',') });
  try {
    return await work(admin);
  } finally {
    await admin.close();
  }
}

export async function withProducer<R>(
  brokers: string,
  work: (producer: BinaryProducer) => Promise<R>,
  transactionalId?: string,
): Promise<R> {
  const producer: BinaryProducer = new Producer<Bytes, Bytes, Buffer, Bytes>({
    clientId: 'test',
    bootstrapBrokers: brokers.split(','),
    autocreateTopics: false,
    // Else what is sent again, because a new topic has no leader yet, may be there twice.
    idempotent: true,
    ...(transactionalId && { transactionalId }),
  });
  try {
    return await work(producer);
  } finally {
    await producer.close();
  }
}

export async function onCluster<R>(ctx: Context, settings: object, work: (cluster: Cluster) => Promise<R>): Promise<R> {
  await using cluster = await connect(ctx, readSettings(settings));
  return await work(cluster);
}

/** Groups lose their offsets with the topics. */
export async function removeEverything(brokers: string): Promise<void> {
  await withAdmin(brokers, async (admin) => {
    const topics = (await admin.listTopics()).filter((name) => !name.startsWith('__'));
    if (topics.length > 0) await admin.deleteTopics({ topics });
  });
}

export const TIME = Date.parse('2025-03-01T12:00:00Z');

/** Records of partition `partition`, a second apart. */
export function messages(topic: string, partition: number, count: number, from = 0): BinaryMessage[] {
  return Array.from({ length: count }, (_, n) => ({
    topic,
    partition,
    key: Buffer.from(`key ${from + n}`),
    value: Buffer.from(`value ${from + n} of ${topic}`),
    timestamp: BigInt(TIME + (from + n) * 1000),
    headers: new Map([[Buffer.from('n'), Buffer.from(String(from + n))]]),
  }));
}

export async function fill(ctx: Context, brokers: string): Promise<void> {
  await withAdmin(brokers, async (admin) => {
    const configs = [{ name: 'retention.ms', value: String(100 * 365 * 86_400_000) }];
    await admin.createTopics({ topics: ['orders'], partitions: 3, replicas: 1, configs });
    const anyTime = { name: 'message.timestamp.after.max.ms', value: '9223372036854775807' };
    await admin.createTopics({ topics: ['odd', 'empty'], partitions: 1, replicas: 1, configs: [...configs, anyTime] });
  });
  await withProducer(brokers, async (producer) => {
    await producer.send({ messages: [...messages('orders', 0, 40), ...messages('orders', 1, 25)] });
    await producer.send({ messages: messages('orders', 0, 40, 40), compression: 'zstd' });
    await producer.send({ messages: messages('orders', 0, 40, 80), compression: 'lz4' });
    for (const message of oddMessages()) await producer.send({ messages: [message] });
  });
  await onCluster(ctx, { brokers }, async (cluster) => {
    await commitOffsets(ctx, cluster, 'billing', [
      { topic: 'orders', partition: 0, offset: 33, metadata: 'by hand' },
      { topic: 'orders', partition: 1, offset: 25, metadata: '' },
      { topic: 'empty', partition: 0, offset: 0, metadata: '' },
    ]);
  });
}

function oddMessages(): BinaryMessage[] {
  const at = { topic: 'odd', partition: 0, timestamp: BigInt(TIME) };
  const twice = [Buffer.from('twice'), Buffer.from('twice')].map((name, n): [Buffer, Bytes] => [
    name,
    Buffer.from([n]),
  ]);
  return [
    { ...at, key: null, value: Buffer.from('no key') },
    { ...at, key: Buffer.from('tombstone'), value: null },
    { ...at, key: Buffer.alloc(0), value: Buffer.alloc(0) },
    { ...at, key: Buffer.from([0, 255, 10]), value: Buffer.alloc(100_000, 'x') },
    { ...at, key: Buffer.from('h'), value: Buffer.from('v'), headers: new Map([...twice, [Buffer.from('n'), null]]) },
    { ...at, key: Buffer.from('later'), value: Buffer.from('1'), timestamp: BigInt(TIME + 86_400_000) },
    { ...at, key: Buffer.from('before 1970'), value: Buffer.from('2'), timestamp: 0n },
    { ...at, key: Buffer.from('microseconds'), value: Buffer.from('3'), timestamp: BigInt(TIME) * 1000n },
  ];
}

/** One server of each version for all tests of a file: what was captured from one comes back in the other. */
export interface SharedServers extends AsyncDisposable {
  server(name: KafkaName): Promise<Kafka>;
}

export function sharedServers(): SharedServers {
  const started = new Map<KafkaName, Promise<Kafka>>();
  return {
    server(name) {
      const there = started.get(name) ?? startKafka(name);
      started.set(name, there);
      return there;
    },
    async [Symbol.asyncDispose]() {
      for (const each of started.values()) await (await each)[Symbol.asyncDispose]();
    },
  };
}

/** Hands everything on, but the answer that is to get lost: with it the connection ends, or falls silent for good. */
export interface LossyProxy extends AsyncDisposable {
  readonly port: number;
  /** Where to. */
  target: number;
  loseNext(how: 'closed' | 'silent'): void;
  lost(): number;
}

export async function lossyProxy(): Promise<LossyProxy> {
  let armed: 'closed' | 'silent' | null = null;
  let lost = 0;
  const sockets = new Set<Socket>();
  const proxy = { target: 0 };
  const server = createServer((client) => {
    const broker = connectTo({ host: '127.0.0.1', port: proxy.target });
    let isSilent = false;
    const end = (): void => {
      client.destroy();
      broker.destroy();
    };
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.on('error', end).on('close', () => {
        sockets.delete(socket);
        end();
      });
    }
    client.pipe(broker);
    broker.on('data', (answer) => {
      if (isSilent) return;
      if (armed === null) return void client.write(answer);
      if (armed === 'closed') end();
      isSilent = true;
      armed = null;
      lost += 1;
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  return Object.assign(proxy, {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    loseNext: (how: 'closed' | 'silent') => void (armed = how),
    lost: () => lost,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  });
}

/** What was captured from one release comes back in another. */
export function rigBetween(
  servers: SharedServers,
  from: KafkaName,
  into: KafkaName,
): Omit<DriverRig, 'driver' | 'skip'> {
  return {
    name: `kafka on ${from}, restored into ${into}`,
    filled: () => filled(servers, from),
    async empty() {
      const { brokers } = await servers.server(into);
      await removeEverything(brokers);
      return { settings: { brokers }, async [Symbol.asyncDispose]() {} };
    },
    nowhere: { brokers: '127.0.0.1:1', timeout: '1s' },
    except: {
      'brings back what was lost, and only that': 'chosen topics come back with restore --select',
      'restores beside the live data, which stays until it is published': 'restore --rename does that',
    },
  };
}

async function filled(servers: SharedServers, name: KafkaName): Promise<FilledService> {
  const { brokers } = await servers.server(name);
  await removeEverything(brokers);
  await fill(liveContext(), brokers);
  return {
    settings: { brokers },
    async [Symbol.asyncDispose]() {},
    async change() {
      await withProducer(brokers, async (producer) => {
        await producer.send({ messages: messages('orders', 2, 1) });
      });
    },
  };
}
