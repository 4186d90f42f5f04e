// Fills a PostgreSQL and a Redis with a shop, changes it a little, and destroys it.

import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import { createClient } from 'redis';

const SESSIONS = 20_000;

export async function fillShop(postgresUrl: string, database: string, redisUrl: string): Promise<void> {
  await onPostgres(postgresUrl, (client) => client.query(`CREATE DATABASE "${database}"`));
  const sql = await readFile(new URL('shop.sql', import.meta.url), 'utf8');
  await Promise.all([
    onPostgres(withDatabase(postgresUrl, database), (client) => client.query(sql)),
    fillRedis(redisUrl),
  ]);
}

/** What a day of business does: about one row in a hundred changes. */
export async function tradeForADay(shopUrl: string, redisUrl: string): Promise<void> {
  await onPostgres(shopUrl, async (client) => {
    await client.query("UPDATE orders SET state = 'sent' WHERE id BETWEEN 300000 AND 303500");
    await client.query(`INSERT INTO orders (customer, state, total, placed)
      SELECT 1 + i, 'new', i, timestamptz '2026-10-01' + i * interval '1 second' FROM generate_series(1, 500) AS i`);
  });
  await onRedis(redisUrl, async (client) => {
    for (let i = 0; i < 200; i++) await client.incr(`counter:page:${i}`);
  });
}

/** The accident: one careless statement. */
export async function deleteSomeCustomers(shopUrl: string): Promise<number> {
  return await onPostgres(shopUrl, async (client) => {
    await client.query('ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey');
    const { rowCount } = await client.query('DELETE FROM customers WHERE id BETWEEN 1000 AND 1249');
    return rowCount ?? 0;
  });
}

/** The disaster. */
export async function destroy(postgresUrl: string, database: string, redisUrl: string): Promise<void> {
  await onPostgres(postgresUrl, (client) => client.query(`DROP DATABASE "${database}" WITH (FORCE)`));
  await onRedis(redisUrl, (client) => client.flushAll());
}

/** A few figures that a person can compare. */
export async function countShop(shopUrl: string, redisUrl: string): Promise<Readonly<Record<string, number>>> {
  const orders = await onPostgres(shopUrl, (client) =>
    client.query<Record<string, string>>(
      `SELECT count(*) AS orders, sum(total) AS revenue, (SELECT count(*) FROM customers) AS customers,
        (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects FROM orders`,
    ),
  );
  const keys = await onRedis(redisUrl, (client) => client.dbSize());
  const row = Object.entries(orders.rows[0] ?? {}).map(([name, value]) => [name, Number(value)] as const);
  return { ...Object.fromEntries(row), keys };
}

export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${encodeURIComponent(database)}`;
  return changed.href;
}

type RedisClient = ReturnType<typeof redisClient>;
const redisClient = (url: string) => createClient({ url });

async function fillRedis(url: string): Promise<void> {
  await onRedis(url, async (client) => {
    for (let from = 0; from < SESSIONS; from += 1000) {
      const batch = client.multi();
      for (let i = from; i < from + 1000; i++) {
        batch.hSet(`session:${i}`, { user: `${i}`, cart: `{"items":[${i},${i + 1}]}`, seen: `${1_700_000_000 + i}` });
        batch.expire(`session:${i}`, 86_400 + i);
      }
      await batch.execAsPipeline();
    }
    const batch = client.multi();
    for (let i = 0; i < 2000; i++) batch.set(`counter:page:${i}`, `${i * 17}`);
    for (let i = 0; i < 500; i++) batch.zAdd('leaderboard', { score: i * 1.5, value: `customer:${i}` });
    for (let i = 0; i < 300; i++) batch.xAdd('events', '*', { order: `${i}`, state: 'paid' });
    batch.xGroupCreate('events', 'mailer', '0');
    batch.sAdd('online', ['ann', 'bob', 'čeněk']).lPush('jobs', ['resize', 'mail', 'index']);
    await batch.execAsPipeline();
  });
}

export async function onPostgres<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined); // each query rejects on its own
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export async function onRedis<T>(url: string, work: (client: RedisClient) => Promise<T>): Promise<T> {
  const client = redisClient(url);
  client.on('error', () => undefined); // each command rejects on its own
  await client.connect();
  try {
    return await work(client);
  } finally {
    client.destroy();
  }
}
