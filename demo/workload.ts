// A shop that never rests: orders go into PostgreSQL and Redis one after the other, and it keeps its own record of
// which of them each has acknowledged, and when.

import { Client } from 'pg';
import { createClient } from 'redis';
import { onPostgres, onRedis } from './shop.ts';

const PAUSE_MS = 10;

/** One order, as the shop remembers it: when it was sent, and when the service said that it has it. */
export interface Sent {
  readonly id: number;
  readonly sentMs: number;
  readonly ackedMs: number;
}
export interface Workload {
  readonly record: { readonly database: readonly Sent[]; readonly cache: readonly Sent[] };
  /** Resolves when the last order is through. */
  stop(): Promise<void>;
}

export async function makeShop(adminUrl: string, shopUrl: string): Promise<void> {
  await onPostgres(adminUrl, (client) => client.query('create database shop'));
  await onPostgres(shopUrl, async (client) => {
    await client.query(`create table customers (id int primary key, name text not null);
      insert into customers select i, 'customer ' || i from generate_series(1, 20000) i;
      create table orders (id int primary key, customer int not null references customers, placed timestamptz not null)`);
  });
}

export async function startWorkload(shopUrl: string, cacheUrl: string): Promise<Workload> {
  const record: { database: Sent[]; cache: Sent[] } = { database: [], cache: [] };
  let isOver = false;
  const database = new Client({ connectionString: shopUrl });
  database.on('error', () => undefined);
  await database.connect();
  const cache = createClient({ url: cacheUrl });
  cache.on('error', () => undefined); // each command rejects on its own
  await cache.connect();
  async function send(sent: Sent[], order: (id: number) => Promise<unknown>): Promise<void> {
    for (let id = 1; !isOver; id++) {
      const sentMs = Date.now();
      await order(id);
      sent.push({ id, sentMs, ackedMs: Date.now() });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
  const all = Promise.allSettled([
    send(record.database, (id) => database.query('insert into orders values ($1, $2, now())', [id, (id % 20_000) + 1])),
    send(record.cache, (id) => cache.multi().set(`order:${id}`, 'new').incr('orders').exec()),
  ]);
  return {
    record,
    async stop() {
      isOver = true;
      await all; // what was refused is no order
      await database.end();
      cache.destroy();
    },
  };
}

/** Somebody's mistake. */
export async function dropAndFlush(shopUrl: string, cacheUrl: string): Promise<void> {
  await Promise.all([
    onPostgres(shopUrl, (client) => client.query('drop table orders')),
    onRedis(cacheUrl, (client) => client.flushAll()),
  ]);
}

/** The orders that are there, by id. */
export async function ordersIn(shopUrl: string, cacheUrl: string): Promise<Record<'database' | 'cache', Set<number>>> {
  const rows = await onPostgres(shopUrl, (client) => client.query<{ id: number }>('select id from orders'));
  const keys = await onRedis(cacheUrl, (client) => client.keys('order:*'));
  return {
    database: new Set(rows.rows.map(({ id }) => id)),
    cache: new Set(keys.map((key) => Number(key.slice('order:'.length)))),
  };
}

export async function isRecovering(url: string): Promise<boolean> {
  const { rows } = await onPostgres(url, (client) => {
    return client.query<{ recovering: boolean }>('select pg_is_in_recovery() as recovering');
  });
  return rows[0]?.recovering ?? true;
}
