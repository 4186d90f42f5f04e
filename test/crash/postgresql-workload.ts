// Writers that note what a PostgreSQL has acknowledged, also while it is killed again and again, or another one takes
// its place.

import { Client } from 'pg';
import { query } from '../e2e/postgres.ts';
import type { Postgres } from '../servers/postgres.ts';

const WRITERS = 3;
const TRIED_AGAIN_MS = 50;
/** Longer than a checkpoint takes on a busy machine. */
const STATEMENT_MS = 10_000;

/** One transaction of a writer: its first one has number 1. */
export interface Done {
  readonly writer: number;
  readonly n: number;
  /** By the server's clock, in microseconds since 1970. */
  readonly atUs: number;
}
export interface Workload extends AsyncDisposable {
  /** The last transaction of each writer that was acknowledged. */
  acknowledged(): readonly number[];
  /** Another server has taken over, which need not have all of that. */
  forget(): void;
  stop(): Promise<void>;
}

export const SCHEMA = [
  'create table history (writer int, n bigint, filler text, primary key (writer, n))',
  'create table sums (writer int primary key, total bigint not null)',
  'insert into sums select w, 0 from generate_series(0, 99) w',
];

/**
 * Each transaction adds its number to a sum, so that one of which half came back is seen. They connect to whatever
 * `where` says, and wait while that is null.
 */
export function startWorkload(where: () => Postgres | null): Workload {
  let isOver = false;
  const acknowledged = Array.from({ length: WRITERS }, () => 0);
  async function write(writer: number): Promise<void> {
    let client: Client | null = null;
    while (!isOver) {
      try {
        client ??= await connected(shopOf(where()));
        const { rows } = await client.query('select coalesce(max(n), 0)::int as n from history where writer = $1', [
          writer,
        ]);
        // What was not acknowledged may be there all the same.
        for (let n = rows[0].n + 1; !isOver; n++) {
          await client.query('begin');
          await client.query('insert into history values ($1, $2, repeat(md5(random()::text), 4))', [writer, n]);
          await client.query('update sums set total = total + $2 where writer = $1', [writer, n]);
          await client.query('commit');
          acknowledged[writer] = n;
        }
      } catch {
        await client?.end().catch(() => undefined);
        client = null;
        await new Promise((resolve) => setTimeout(resolve, TRIED_AGAIN_MS));
      }
    }
    await client?.end().catch(() => undefined);
  }
  const all = Promise.all(acknowledged.map((_, writer) => write(writer)));
  const stop = async (): Promise<void> => {
    isOver = true;
    await all;
  };
  return {
    acknowledged: () => [...acknowledged],
    forget: () => void acknowledged.fill(0),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function shopOf(server: Postgres | null): string {
  if (!server) throw new Error('nobody serves');
  return server.url.replace(/postgres$/, 'shop');
}

async function connected(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, statement_timeout: STATEMENT_MS, query_timeout: STATEMENT_MS });
  client.on('error', () => undefined); // told by the query that fails with it
  await client.connect();
  return client;
}

const HISTORY = `select writer, n::int,
  (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint::text as at from history`;
const STATE = `select writer, count(*)::int as rows, max(n)::int as last, total::text
  from history join sums using (writer) group by writer, total`;

/** All that the server has committed, acknowledged or not; it must keep the times of commits. */
export async function historyOf(server: Postgres): Promise<readonly Done[]> {
  const rows = await query(shopOf(server), HISTORY);
  return rows.map(({ writer, n, at }) => ({ writer: Number(writer), n: Number(n), atUs: Number(at) }));
}

/** What a writer has left behind. */
export interface State {
  readonly writer: number;
  readonly rows: number;
  readonly last: number;
  readonly total: number;
}
export async function stateOf(server: Postgres): Promise<readonly State[]> {
  const rows = await query(shopOf(server), STATE);
  return rows.map(({ writer, rows: count, last, total }) => {
    return { writer: Number(writer), rows: Number(count), last: Number(last), total: Number(total) };
  });
}

/** What a server has lost of what it acknowledged; null when nothing. */
export function lostOf(acknowledged: readonly number[], history: readonly Done[]): string | null {
  const lost = acknowledged.flatMap((n, writer) => {
    const last = history.filter((each) => each.writer === writer).length;
    return last >= n ? [] : [`number ${n} of writer ${writer}, who has ${last}`];
  });
  return lost.length === 0 ? null : lost.join(', ');
}

/**
 * What is wrong with a state that is said to be the one of that moment; null when it may have been. Commits get their
 * times a little before they get their places in the log: of those so near to the moment, either may be first.
 */
export function wrongWith(
  history: readonly Done[],
  atUs: number,
  rows: readonly State[],
  nearUs: number,
): string | null {
  for (let writer = 0; writer < WRITERS; writer++) {
    const { rows: count, last, total } = rows.find((each) => each.writer === writer) ?? { rows: 0, last: 0, total: 0 };
    if (count !== last) return `writer ${writer}: ${count} transactions up to number ${last}`;
    if (total !== (last * (last + 1)) / 2) return `writer ${writer}: the sum of 1 to ${last} is ${total}`;
    const own = history.filter((each) => each.writer === writer);
    const least = own.filter((each) => each.atUs <= atUs - nearUs).length;
    const most = own.filter((each) => each.atUs <= atUs + nearUs).length;
    if (last < least || last > most) return `writer ${writer}: number ${last} is the last, not ${least} to ${most}`;
  }
  return null;
}
