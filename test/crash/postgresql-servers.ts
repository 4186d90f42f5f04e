// A primary and a standby that streams from it and takes over; then another standby, and so on. Replication is not
// synchronous, and its way is cut now and then: what only the old primary acknowledged is lost with it.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { positionOf, sourceIn } from '../../src/drivers/postgresql/wal/positions.ts';
import { standbyDir } from '../../src/drivers/postgresql/wal/testing.ts';
import { query } from '../e2e/postgres.ts';
import { startCuttingProxy } from '../servers/cutting-proxy.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../servers/postgres.ts';
import { type Chance, pause, until } from './chaos.ts';
import { type Done, historyOf, lostOf, SCHEMA, startWorkload, type Workload } from './postgresql-workload.ts';
import type { Claim } from './store.ts';

export const MAJOR = 18;
const CONF = {
  track_commit_timestamp: 'on',
  full_page_writes: 'on',
  wal_keep_size: '512MB',
  wal_retrieve_retry_interval: '500ms',
};

const CLAIMS = `select flush_lsn::text as flushed from pg_stat_replication join pg_replication_slots on active_pid = pid
  where slot_name = 'lifeboat_follow' and flush_lsn is not null`;

/** A primary's time, which is a timeline. */
export interface Era {
  readonly timeline: number;
  /** In milliseconds; from when on it took writes. */
  readonly bornMs: number;
  /** Infinite for the one that lives. */
  readonly diedMs: number;
  /** All that it had committed, what it took over included. */
  readonly history: readonly Done[];
  /** Of what it acknowledged, how much the next one did not have. */
  readonly lost: number;
}

export interface Servers extends AsyncDisposable {
  readonly primary: Postgres;
  /** Where whoever follows connects to: it leads to the primary. */
  readonly port: number;
  readonly way: { cut(): void; away(isAway: boolean): void };
  readonly workload: Workload;
  /** What follow has told the primary to be stored. */
  claims(): Promise<readonly Claim[]>;
  /** With another standby after it: what is not followed yet of a timeline, only one that was there has. */
  failOver(chance: Chance): Promise<void>;
  /** With the one that lives, as it is now. */
  eras(): Promise<readonly Era[]>;
}

export async function startServers(): Promise<Servers> {
  await using started = new AsyncDisposableStack();
  const dirs = started.use(testDirs());
  let primary = await startPostgres(MAJOR, { conf: CONF });
  started.defer(async () => await primary[Symbol.asyncDispose]());
  await sql(primary, 'postgres', 'create database shop');
  await sql(primary, 'shop', ...SCHEMA);
  const way = started.use(await startCuttingProxy(primary.port));
  const link = started.use(await startCuttingProxy(primary.port));
  let serving: Postgres | null = primary;
  let bornMs = Number.NEGATIVE_INFINITY;
  const past: Era[] = [];
  const timelineOf = (): number => past.length + 1;

  async function beginStandby(): Promise<Postgres> {
    const dir = dirs.make(`standby ${timelineOf()}`);
    const made = await startPostgresOn(MAJOR, await standbyDir({ ...primary, port: link.port }, dir));
    const [row] = await query(primary.url, 'select pg_current_wal_flush_lsn()::text as lsn');
    await until('the standby streams', async () => (await receivedBy(made)) >= positionOf(String(row?.lsn)));
    return made;
  }
  /** The old one keeps to itself: it is asked what it had, and goes. */
  async function bury(
    old: Postgres,
    acknowledged: readonly number[],
    life: Pick<Era, 'bornMs' | 'diedMs'>,
  ): Promise<void> {
    const history = await lastWords(old);
    assert.equal(lostOf(acknowledged, history), null, 'no server loses what it acknowledged when it is killed');
    const keyOf = ({ writer, atUs }: Done): string => `${writer} ${atUs}`;
    const inherited = new Set((await historyOf(primary)).map(keyOf));
    const lost = history.filter((each) => !inherited.has(keyOf(each))).length;
    past.push({ timeline: timelineOf(), ...life, history, lost });
    await old[Symbol.asyncDispose]();
    rmSync(old.dir, { recursive: true, force: true });
  }
  let standby = await beginStandby();
  started.defer(async () => await standby[Symbol.asyncDispose]());
  const workload = startWorkload(() => serving);
  started.defer(async () => await workload.stop());
  const kept = started.move();
  return {
    get primary() {
      return primary;
    },
    port: way.port,
    way,
    workload,
    claims: () => claimsAt(primary, timelineOf()),
    async failOver(chance) {
      const next = standby;
      link.away(chance(2) > 0);
      await pause(chance(1500));
      const old = primary;
      serving = null;
      const diedMs = Date.now();
      await old.kill();
      await pause(200 + chance(1500));
      const acknowledged = workload.acknowledged();
      workload.forget();
      await sql(next, 'postgres', 'select pg_promote()');
      const life = { bornMs, diedMs };
      bornMs = Date.now();
      [primary, serving] = [next, next];
      for (const each of [way, link]) each.lead(next.port);
      link.away(false);
      await bury(old, acknowledged, life);
      standby = await beginStandby();
    },
    async eras() {
      const life = { bornMs, diedMs: Number.POSITIVE_INFINITY };
      return [...past, { timeline: timelineOf(), ...life, history: await historyOf(primary), lost: 0 }];
    },
    [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
  };
}

async function claimsAt({ url }: Postgres, timeline: number): Promise<readonly Claim[]> {
  // What is missing of the one before is fetched from the new primary.
  const isOf: Claim['isOf'] = (source) => (sourceIn(source)?.timeline ?? Infinity) <= timeline;
  return (await query(url, CLAIMS)).map(({ flushed }) => ({ isOf, position: positionOf(String(flushed)) }));
}

async function receivedBy(standby: Postgres): Promise<string> {
  const [row] = await query(standby.url, "select coalesce(pg_last_wal_receive_lsn(), '0/0')::text as lsn");
  return positionOf(String(row?.lsn));
}

async function lastWords({ dir }: Postgres): Promise<readonly Done[]> {
  await using again = await startPostgresOn(MAJOR, dir);
  return await historyOf(again);
}
