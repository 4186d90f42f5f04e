// Writers to a Redis, and what it must hold after so many of their transactions. Each is a MULTI or a script over
// several databases, and appends itself with the server's time to a list: that is the order in which they were done.

import { createHash } from 'node:crypto';
import { liveContext } from '../../src/core/testing.ts';
import type { Connection } from '../../src/drivers/redis/connection.ts';
import { isError, type Reply, textOf } from '../../src/drivers/redis/resp.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { pause } from './chaos.ts';

const WRITERS = 3;
const PAUSE_MS = 4;
const TRIED_AGAIN_MS = 50;
const DATABASES = 4;
const KEYS = 6;
const POOL_MAX = 8;
const LIST_MAX = 10;
const DAY_MS = 86_400_000;
/** Keys that pass away about when they are compared may be there or not. */
const PASSING_MS = 10_000;

const NOW = "local t = redis.call('TIME') local ms = t[1] * 1000 + math.floor(t[2] / 1000)";
const NOTE = "redis.call('SET', 'done:' .. ARGV[1], ARGV[2])";
const APPEND = (extra: string): string =>
  `redis.call('RPUSH', 'log', ARGV[1] .. ':' .. ARGV[2] .. ':' .. string.format('%.0f', ms) .. ':' .. ${extra})`;
/** ARGV: writer, number. */
const STAMP = `${NOW} ${NOTE} ${APPEND("''")}`;
/** ARGV[3]: database. What is taken out nobody knows beforehand. */
const DRAW = `${NOW} redis.call('SELECT', ARGV[3]) redis.call('SADD', 'pool', ARGV[1] .. '-' .. ARGV[2]) local out = ''
  if redis.call('SCARD', 'pool') > ${POOL_MAX} then out = redis.call('SPOP', 'pool') end
  redis.call('SELECT', 0) ${NOTE} ${APPEND('out')}`;
/** ARGV[3]: database, ARGV[4]: key, ARGV[5]: how long it stays. */
const PASSING = `${NOW} redis.call('SELECT', ARGV[3])
  redis.call('SET', ARGV[4], ARGV[1] .. '-' .. ARGV[2], 'PXAT', string.format('%.0f', ms + ARGV[5]))
  redis.call('SELECT', 0) ${NOTE} ${APPEND("''")}`;

type Transaction =
  | { readonly kind: 'transfer'; readonly from: Place; readonly to: Place; readonly amount: number }
  | { readonly kind: 'append'; readonly list: Place }
  | { readonly kind: 'flush'; readonly database: number }
  | { readonly kind: 'draw'; readonly database: number }
  | { readonly kind: 'passing'; readonly key: Place; readonly ttlMs: number };
interface Place {
  readonly database: number;
  readonly key: string;
}

/** What transaction `n` of a writer does, whoever asks. */
function transactionOf(seed: string, writer: number, n: number): Transaction {
  const digest = createHash('sha256').update(`${seed} ${writer} ${n}`).digest();
  const draw = (at: number, below: number): number => digest.readUInt16LE(2 * at) % below;
  const place = (at: number, kind: string): Place => {
    return { database: draw(at, DATABASES), key: `${kind}:${draw(at + 1, KEYS)}` };
  };
  const kind = draw(0, 100);
  if (kind < 45) return { kind: 'transfer', from: place(1, 'sum'), to: place(3, 'sum'), amount: 1 + draw(5, 100) };
  if (kind < 65) return { kind: 'append', list: place(1, 'list') };
  if (kind < 82) return { kind: 'draw', database: draw(1, DATABASES) };
  if (kind < 99) {
    const ttlMs = draw(3, 2) > 0 ? 100 + draw(4, 3000) : DAY_MS + draw(4, 60_000);
    return { kind: 'passing', key: place(1, 'passing'), ttlMs };
  }
  return { kind: 'flush', database: DATABASES - 1 };
}

function commandsOf(transaction: Transaction, writer: number, n: number): (string | number)[][] {
  const within = (...commands: (string | number)[][]): (string | number)[][] => [
    ['MULTI'],
    ...commands,
    ['SELECT', 0],
    ['EVAL', STAMP, 0, writer, n],
    ['EXEC'],
  ];
  switch (transaction.kind) {
    case 'transfer': {
      const { from, to, amount } = transaction;
      const take = ['DECRBY', from.key, amount];
      return within(['SELECT', from.database], take, ['SELECT', to.database], ['INCRBY', to.key, amount]);
    }
    case 'append': {
      const { database, key } = transaction.list;
      return within(['SELECT', database], ['RPUSH', key, `${writer}-${n}`], ['LTRIM', key, -LIST_MAX, -1]);
    }
    case 'flush':
      return within(['SELECT', transaction.database], ['FLUSHDB']);
    case 'draw':
      return [['EVAL', DRAW, 0, writer, n, transaction.database]];
    case 'passing': {
      const { key, ttlMs } = transaction;
      return [['EVAL', PASSING, 0, writer, n, key.database, key.key, ttlMs]];
    }
  }
}

export interface Workload extends AsyncDisposable {
  /** The last transaction of each writer that was acknowledged. */
  acknowledged(): readonly number[];
  stop(): Promise<void>;
}

export function startWorkload(url: string, seed: string): Workload {
  const ctx = liveContext();
  const acknowledged = Array.from({ length: WRITERS }, () => 0);
  let isOver = false;
  async function write(writer: number): Promise<void> {
    while (!isOver) {
      try {
        await using connection = await open(ctx, { url });
        // What was not acknowledged may be there all the same.
        for (let n = 1 + Number(await text(connection, 'GET', `done:${writer}`)); !isOver; n++) {
          const commands = commandsOf(transactionOf(seed, writer, n), writer, n);
          const replies = await Promise.all(commands.map((command) => connection.call(...command)));
          for (const reply of [replies.at(-1) ?? null].flat()) if (isError(reply)) throw new Error(reply.error);
          acknowledged[writer] = n;
          await pause(PAUSE_MS);
        }
      } catch {
        await pause(TRIED_AGAIN_MS);
      }
    }
  }
  const all = Promise.all(acknowledged.map((_, writer) => write(writer)));
  const stop = async (): Promise<void> => {
    isOver = true;
    await all;
  };
  return {
    acknowledged: () => [...acknowledged],
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** One transaction that was done, in the words of the server. */
export interface Done {
  readonly entry: string;
  readonly writer: number;
  readonly n: number;
  /** By the server's clock, in milliseconds since 1970. */
  readonly atMs: number;
  /** What a script has drawn. */
  readonly drawn: string;
}

/** In the order in which they were done. */
export async function historyOf(connection: Connection): Promise<readonly Done[]> {
  await connection.call('SELECT', 0);
  const length = Number(await connection.call('LLEN', 'log'));
  const done: Done[] = [];
  for (let at = 0; at < length; at += 10_000) {
    for (const entry of await texts(connection, 'LRANGE', 'log', at, at + 9_999)) {
      const [writer = '', n = '', ms = '', drawn = ''] = entry.split(':');
      done.push({ entry, writer: Number(writer), n: Number(n), atMs: Number(ms), drawn });
    }
  }
  return done;
}

/** By database and name of key, values as text; times at which keys pass away with them. */
export type Content = Readonly<Record<string, unknown>>;

/** What is there after these, as it is seen `nowMs`; the list of them is left out. */
export function contentAfter(history: readonly Done[], seed: string, nowMs: number): Content {
  const databases = Array.from({ length: DATABASES }, () => new Map<string, unknown>());
  const passing = new Map<string, number>();
  const of = (database: number): Map<string, unknown> => databases[database] ?? new Map();
  const add = ({ database, key }: Place, amount: number): void =>
    void of(database).set(key, Number(of(database).get(key) ?? 0) + amount);
  for (const { writer, n, atMs, drawn } of history) {
    const transaction = transactionOf(seed, writer, n);
    of(0).set(`done:${writer}`, n);
    if (transaction.kind === 'transfer') {
      add(transaction.from, -transaction.amount);
      add(transaction.to, transaction.amount);
    } else if (transaction.kind === 'append') {
      const { database, key } = transaction.list;
      const list = (of(database).get(key) ?? []) as readonly string[];
      of(database).set(key, [...list, `${writer}-${n}`].slice(-LIST_MAX));
    } else if (transaction.kind === 'flush') {
      of(transaction.database).clear();
    } else if (transaction.kind === 'draw') {
      const pool = (of(transaction.database).get('pool') ?? []) as readonly string[];
      of(transaction.database).set(
        'pool',
        [...pool, `${writer}-${n}`].filter((each) => each !== drawn),
      );
    } else {
      const { database, key } = transaction.key;
      of(database).set(key, { value: `${writer}-${n}`, until: atMs + transaction.ttlMs });
      passing.set(`${database} ${key}`, atMs + transaction.ttlMs);
    }
  }
  const all = databases.flatMap((keys, database) =>
    [...keys].map(([key, value]) => [`${database} ${key}`, value] as const),
  );
  return contentOf(all, nowMs);
}

function contentOf(all: readonly (readonly [string, unknown])[], nowMs: number): Content {
  const stays = all.filter(([, value]) => !(isPassing(value) && value.until <= nowMs + PASSING_MS));
  const sorted = stays.map(
    ([name, value]) => [name, / pool$/.test(name) ? [...(value as string[])].sort() : value] as const,
  );
  return Object.fromEntries(sorted.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
function isPassing(value: unknown): value is { until: number } {
  return typeof value === 'object' && value !== null && 'until' in value;
}

/** The same, of a server. Keys that are about to pass away are left out. */
export async function contentIn(connection: Connection, nowMs: number): Promise<Content> {
  const all: [string, unknown][] = [];
  for (let database = 0; database < DATABASES; database++) {
    await connection.call('SELECT', database);
    for (const key of await texts(connection, 'KEYS', '*')) {
      if (database === 0 && key === 'log') continue;
      all.push([`${database} ${key}`, await valueAt(connection, key)]);
    }
  }
  return contentOf(all, nowMs);
}

async function valueAt(connection: Connection, key: string): Promise<unknown> {
  if (key === 'pool') return await texts(connection, 'SMEMBERS', key);
  if (key.startsWith('list:')) return await texts(connection, 'LRANGE', key, 0, -1);
  const value = await text(connection, 'GET', key);
  if (!key.startsWith('passing:')) return Number(value);
  return { value, until: Number(await connection.call('PEXPIRETIME', key)) };
}

async function text(connection: Connection, ...command: (string | number)[]): Promise<string> {
  return textOf(await connection.call(...command));
}
async function texts(connection: Connection, ...command: (string | number)[]): Promise<string[]> {
  const reply: Reply = await connection.call(...command);
  return (Array.isArray(reply) ? (reply as readonly Reply[]) : []).map(textOf);
}
