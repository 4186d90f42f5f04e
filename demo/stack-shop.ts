// The parts of the shop that lie beside its database: invoices, a product index, events, settings, logs.

import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandOutput,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { Admin, Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka';
import { Client } from 'pg';
import { liveContext } from '../src/core/testing.ts';
import { readStat, request } from '../src/drivers/zookeeper/protocol.ts';
import { make, openClient } from '../src/drivers/zookeeper/testing.ts';
import type { S3Server } from '../test/servers/s3.ts';
import { countShop, fillShop, tradeForADay } from './shop.ts';

export interface Places {
  readonly postgresUrl: string;
  readonly shopUrl: string;
  readonly redisUrl: string;
  readonly s3: S3Server;
  readonly searchUrl: string;
  readonly brokers: string;
  readonly zookeeper: string;
  readonly lokiUrl: string;
}
type Counts = Readonly<Record<string, number>>;

const BUCKET = 'invoices';
const INVOICES = 1_500;
const EVENTS = 30_000;
const LINES = 20_000;
const TOPIC = 'orders';
const GROUP = 'mailer';
const REGIONS = ['eu', 'us', 'asia'];

export async function fillStack(places: Places): Promise<void> {
  await Promise.all([
    fillShop(places.postgresUrl, 'shop', places.redisUrl).then(() => fillSearch(places)),
    fillInvoices(places),
    fillEvents(places),
    fillSettings(places),
    fillLogs(places, 0, LINES),
  ]);
  await writeInvoiceRows(places, 0, INVOICES);
}

/** Also an invoice that is written again, one that is deleted, and events that nobody has read yet. */
export async function tradeOnTheStack(places: Places): Promise<void> {
  await tradeForADay(places.shopUrl, places.redisUrl);
  await onS3(places, async (client) => {
    await putInvoices(client, INVOICES, INVOICES + 40);
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: keyOf(7), Body: 'corrected' }));
    await client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: 'drafts/not needed.txt' }));
  });
  await writeInvoiceRows(places, INVOICES, INVOICES + 40);
  await sendEvents(places, EVENTS, EVENTS + 2_000);
  await fillLogs(places, LINES, LINES + 500);
}

/** The second accident. */
export async function loseTheIndex({ searchUrl }: Places): Promise<void> {
  await asked(`${searchUrl}/products`, { method: 'DELETE' });
}

export async function countStack(places: Places): Promise<Counts> {
  const [shop, invoices, search, kafka, settings, logs] = await Promise.all([
    countShop(places.shopUrl, places.redisUrl),
    countInvoices(places),
    asked(`${places.searchUrl}/products/_refresh`, { method: 'POST' }).then(() =>
      asked<{ count: number }>(`${places.searchUrl}/products/_count`),
    ),
    countEvents(places),
    countSettings(places),
    countLines(places),
  ]);
  return { ...shop, ...invoices, products_in_search: search.count, ...kafka, settings, log_lines: logs };
}

function keyOf(n: number): string {
  return `2026/${String(n % 12).padStart(2, '0')}/invoice ${n}.pdf`;
}

async function onS3<T>({ s3 }: Places, work: (client: S3Client) => Promise<T>): Promise<T> {
  const credentials = { accessKeyId: s3.accessKey, secretAccessKey: s3.secretKey };
  const client = new S3Client({ endpoint: s3.endpoint, region: s3.region, credentials, forcePathStyle: true });
  try {
    return await work(client);
  } finally {
    client.destroy();
  }
}

async function fillInvoices(places: Places): Promise<void> {
  await onS3(places, async (client) => {
    await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
    const versioned = { Status: 'Enabled' } as const;
    await client.send(new PutBucketVersioningCommand({ Bucket: BUCKET, VersioningConfiguration: versioned }));
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'drafts/not needed.txt', Body: 'soon deleted' }));
    await putInvoices(client, 0, INVOICES);
  });
}

async function putInvoices(client: S3Client, from: number, to: number): Promise<void> {
  const one = async (n: number): Promise<void> => {
    const body = `%PDF invoice ${n}\n`.repeat(50 + (n % 300));
    const said = { ContentType: 'application/pdf', Metadata: { customer: String(n) }, Tagging: `year=2026&n=${n}` };
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: keyOf(n), Body: body, ...said }));
  };
  for (let n = from; n < to; n += 20) {
    await Promise.all(Array.from({ length: Math.min(20, to - n) }, (_, i) => one(n + i)));
  }
}

async function writeInvoiceRows({ shopUrl }: Places, from: number, to: number): Promise<void> {
  const client = new Client({ connectionString: shopUrl });
  await client.connect();
  try {
    await client.query('CREATE TABLE IF NOT EXISTS invoices (id int PRIMARY KEY, object_key text NOT NULL)');
    await client.query('INSERT INTO invoices SELECT * FROM unnest($1::int[], $2::text[])', [
      Array.from({ length: to - from }, (_, i) => from + i),
      Array.from({ length: to - from }, (_, i) => keyOf(from + i)),
    ]);
  } finally {
    await client.end();
  }
}

async function countInvoices(places: Places): Promise<Counts> {
  return await onS3(places, async (client) => {
    const counts = { objects: 0, versions: 0, delete_markers: 0 };
    for await (const page of versionsOf(client)) {
      counts.versions += page.Versions?.length ?? 0;
      counts.objects += page.Versions?.filter(({ IsLatest }) => IsLatest).length ?? 0;
      counts.delete_markers += page.DeleteMarkers?.length ?? 0;
    }
    return counts;
  });
}

async function* versionsOf(client: S3Client): AsyncIterable<ListObjectVersionsCommandOutput> {
  let [KeyMarker, VersionIdMarker]: (string | undefined)[] = [];
  do {
    const page: ListObjectVersionsCommandOutput = await client.send(
      new ListObjectVersionsCommand({ Bucket: BUCKET, KeyMarker, VersionIdMarker }),
    );
    yield page;
    [KeyMarker, VersionIdMarker] = [page.NextKeyMarker, page.NextVersionIdMarker];
  } while (KeyMarker !== undefined);
}

async function fillSearch({ shopUrl, searchUrl }: Places): Promise<void> {
  const mappings = { properties: { title: { type: 'text' }, price: { type: 'double' } } };
  const index = { settings: { number_of_shards: 2, number_of_replicas: 0 }, mappings, aliases: { catalogue: {} } };
  await asked(`${searchUrl}/products`, { method: 'PUT', body: JSON.stringify(index) });
  const client = new Client({ connectionString: shopUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ id: string; title: string; price: string }>(
      'SELECT id, title, price FROM products',
    );
    const lines = rows.flatMap(({ id, title, price }) => [
      JSON.stringify({ index: { _id: id } }),
      JSON.stringify({ title, price: Number(price) }),
    ]);
    await asked(`${searchUrl}/products/_bulk?refresh=true`, { method: 'POST', body: `${lines.join('\n')}\n` });
  } finally {
    await client.end();
  }
}

async function fillEvents(places: Places): Promise<void> {
  const admin = new Admin({ clientId: 'demo', bootstrapBrokers: [places.brokers] });
  try {
    const configs = [{ name: 'retention.ms', value: String(30 * 86_400_000) }];
    await admin.createTopics({ topics: [TOPIC], partitions: 3, replicas: 1, configs });
  } finally {
    await admin.close();
  }
  await sendEvents(places, 0, EVENTS);
  await readSomeEvents(places, EVENTS / 2);
}

async function sendEvents({ brokers }: Places, from: number, to: number): Promise<void> {
  const producer = new Producer({
    clientId: 'demo',
    bootstrapBrokers: [brokers],
    serializers: stringSerializers,
  });
  try {
    for (let n = from; n < to; n += 1000) {
      const messages = Array.from({ length: Math.min(1000, to - n) }, (_, i) => ({
        topic: TOPIC,
        key: `order ${n + i}`,
        value: JSON.stringify({ order: n + i, state: 'paid', total: ((n + i) * 31) % 1000 }),
        headers: { source: 'demo' },
      }));
      await producer.send({ messages, compression: 'zstd' });
    }
  } finally {
    await producer.close();
  }
}

async function readSomeEvents({ brokers }: Places, count: number): Promise<void> {
  const consumer = new Consumer({
    clientId: 'demo',
    groupId: GROUP,
    bootstrapBrokers: [brokers],
    deserializers: stringDeserializers,
  });
  try {
    const stream = await consumer.consume({ topics: [TOPIC], mode: 'earliest', autocommit: true });
    let read = 0;
    for await (const message of stream) {
      if (message.topic === TOPIC) read += 1;
      if (read >= count) break;
    }
  } finally {
    await consumer.close(true);
  }
}

async function countEvents({ brokers }: Places): Promise<Counts> {
  const admin = new Admin({ clientId: 'demo', bootstrapBrokers: [brokers] });
  try {
    const partitions = [0, 1, 2].map((partitionIndex) => ({ partitionIndex, timestamp: -1n }));
    const [ends] = await admin.listOffsets({ topics: [{ name: TOPIC, partitions }] });
    const groups = await admin.listConsumerGroupOffsets({
      groups: [{ groupId: GROUP, topics: [{ name: TOPIC, partitionIndexes: [0, 1, 2] }] }],
    });
    const read = groups.flatMap(({ topics }) => topics.flatMap(({ partitions: each }) => each));
    return {
      events: Number((ends?.partitions ?? []).reduce((sum, { offset }) => sum + offset, 0n)),
      events_read: Number(read.reduce((sum, { committedOffset }) => sum + committedOffset, 0n)),
    };
  } finally {
    await admin.close();
  }
}

async function fillSettings({ zookeeper }: Places): Promise<void> {
  await using client = await openClient(liveContext(), { hosts: zookeeper });
  await make(client, '/shop', { data: 'a shop' });
  for (const region of REGIONS) {
    await make(client, `/shop/${region}`, { data: region });
    for (let n = 0; n < 50; n++) await make(client, `/shop/${region}/worker-${n}`, { data: `{"port":${8000 + n}}` });
  }
}

async function fillLogs({ lokiUrl }: Places, from: number, to: number): Promise<void> {
  const beginning = Date.now() - 40 * 3_600_000;
  for (let n = from; n < to; n += 5_000) {
    const values = Array.from({ length: Math.min(5_000, to - n) }, (_, i) => {
      const at = BigInt(beginning + (n + i) * 5_000) * 1_000_000n;
      return [String(at), `level=info msg="order paid" order=${n + i}`, { trace: `t${(n + i) % 97}` }];
    });
    const body = JSON.stringify({ streams: [{ stream: { app: 'shop', part: 'checkout' }, values }] });
    await asked(`${lokiUrl}/loki/api/v1/push`, { method: 'POST', body });
  }
}

async function countLines({ lokiUrl }: Places): Promise<number> {
  const query = new URLSearchParams({ query: 'sum(count_over_time({app="shop"}[3d]))' });
  const answer = await asked<{ data: { result: { value: [number, string] }[] } }>(
    `${lokiUrl}/loki/api/v1/query?${query}`,
  );
  return Number(answer.data.result[0]?.value[1] ?? 0);
}

async function countSettings({ zookeeper }: Places): Promise<number> {
  await using client = await openClient(liveContext(), { hosts: zookeeper });
  let count = 0;
  for (const path of ['/shop', ...REGIONS.map((region) => `/shop/${region}`)]) {
    const { body } = await client.call('getData', path, request.read(path));
    body.bytes();
    count += readStat(body).children;
  }
  return count;
}

async function asked<T = unknown>(url: string, { method = 'GET', body }: RequestInit = {}): Promise<T> {
  const headers = { 'content-type': url.includes('_bulk') ? 'application/x-ndjson' : 'application/json' };
  const answer = await fetch(url, { method, headers, ...(body ? { body } : {}) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${text.slice(0, 300)}`);
  return JSON.parse(text === '' ? 'null' : text);
}
