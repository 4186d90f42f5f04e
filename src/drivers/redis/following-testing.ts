// A real server that is written to and followed, for the tests of following.

import assert from 'node:assert/strict';
import { until } from '../../../test/servers/processes.ts';
import { type Redis, type RedisName, startRedis } from '../../../test/servers/redis.ts';
import type { Component } from '../../core/component.ts';
import type { Context } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import { readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import { type Keeper, keeper } from './follow-testing.ts';
import { recordsOf } from './records.ts';
import { open, pipeline } from './testing.ts';

export const WAIT_MS = 60_000;

export interface Scene extends AsyncDisposable {
  readonly ctx: Context;
  readonly server: Redis;
  readonly component: Component;
  readonly kept: Keeper;
}
/** Nobody follows it yet. */
export async function startScene(name: RedisName, ...args: readonly string[]): Promise<Scene> {
  const ctx = liveContext();
  const kept = await keeper(ctx);
  const server = await startRedis(name, { args });
  const component = redisDriver.open({ url: server.url });
  return { ctx, server, component, kept, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Follows until all is stored that the server has done by then, `act` last; returns how far that is. */
export async function followed(
  { ctx, server, component, kept }: Omit<Scene, keyof AsyncDisposable>,
  act: () => Promise<unknown> = async () => {},
): Promise<string | null> {
  const following = kept.follow(ctx, component);
  await act();
  await caughtUp(ctx, server);
  await following.stop();
  return following.durable();
}

export async function write(ctx: Context, server: Redis, from: number, count: number, size = 100): Promise<void> {
  await using connection = await open(ctx, { url: server.url });
  const value = 'v'.repeat(size);
  await pipeline(
    connection,
    Array.from({ length: count }, (_, n) => ['SET', `key:${from + n}`, value]),
  );
}

export async function offsetOf(ctx: Context, server: Redis): Promise<number> {
  await using connection = await open(ctx, { url: server.url });
  return Number((await readInfo(connection)).get('master_repl_offset'));
}

/** Until the server is told that the journal has all that it has done by now. */
export async function caughtUp(ctx: Context, server: Redis): Promise<void> {
  await using connection = await open(ctx, { url: server.url });
  const told = async (): Promise<number> => {
    const replicas = [...(await readInfo(connection))].filter(([name]) => /^slave\d/.test(name));
    // A real replica names its port.
    const ours = replicas.map(([, text]) => Number(/port=0,.*offset=(\d+)/.exec(text)?.[1] ?? -1));
    return Math.max(-1, ...ours);
  };
  await until('somebody who follows', WAIT_MS, async () => (await told()) >= 0);
  await connection.call('SET', 'the last', 'of all');
  const offset = await offsetOf(ctx, server);
  await until(`the journal at ${offset}`, WAIT_MS, async () => (await told()) >= offset);
}

/** All bytes of the newest lineage; that no range is missing between, `read` proves. */
export async function streamOf(ctx: Context, { journal, lineages }: Keeper): Promise<Buffer> {
  const lineage = (await lineages(ctx)).at(-1);
  assert.ok(lineage);
  const place = { lineage: lineage.id, position: lineage.from.position };
  const ranges = await Array.fromAsync(journal.read(ctx, place, null), ({ body }) => Buffer.from(body));
  return Buffer.concat(ranges.flatMap((body) => [...recordsOf('a range', body)].map(({ bytes }) => bytes)));
}

/** The first change names its database. A server may say that it lives before. */
export const BEGINS_WITH_SELECT = /^(?:\*1\r\n\$4\r\nping\r\n)*\*2\r\n\$6\r\nSELECT\r\n/i;

/** The keys that `write` wrote, as the journal tells it. */
export async function keysOf(ctx: Context, kept: Keeper): Promise<number[]> {
  const text = (await streamOf(ctx, kept)).toString('latin1');
  return [...text.matchAll(/\bkey:(\d+)/g)].map(([, key]) => Number(key));
}
