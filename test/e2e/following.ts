// The command that follows, while it runs.

import type { ChildProcess } from 'node:child_process';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import type { Postgres } from '../servers/postgres.ts';
import { until } from '../servers/processes.ts';
import { lifeboat, type Ran } from './lifeboat.ts';

interface Event {
  readonly task: string;
  readonly note?: string;
  readonly up_to?: { readonly position: string; readonly at: string };
}
export interface Running {
  /** Resolves when an event fits. */
  until(fits: (event: Event) => boolean): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<Ran>;
}

/** `lifeboat follow` of the configuration in `dir`, and what it says of its progress. */
export function startFollowing(dir: string): Running {
  let child: ChildProcess | undefined;
  let last: Event | undefined;
  const looking = new Set<() => void>();
  const ran = lifeboat(['follow', '--progress', 'json', '--json'], {
    cwd: dir,
    onStart(started) {
      child = started;
      let rest = '';
      started.stderr?.on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines.filter((each) => each.includes('"phase":'))) {
          last = JSON.parse(line) as Event;
          for (const look of looking) look();
        }
      });
    },
  });
  return {
    until: (fits) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!last || !fits(last)) return;
          looking.delete(look);
          resolve();
        };
        looking.add(look);
        look();
        ran.then(({ stderr }) => reject(new Error(`it ended: ${stderr}`)), reject);
      }),
    async kill(signal) {
      child?.kill(signal);
      return await ran;
    },
  };
}

/** By the server's clock. */
export async function timeAt(server: Postgres): Promise<string> {
  const query = `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at`;
  return ((await sql(server, 'postgres', query))[0] as { at: string }).at;
}

/** Follows the server of the configuration in `dir` while `work` is done, and until all of that is stored. */
export async function followingPostgres(dir: string, server: Postgres, work: () => Promise<void>): Promise<void> {
  let child: ChildProcess | undefined;
  const ended = lifeboat(['follow'], { cwd: dir, onStart: (each) => void (child = each) });
  const isStored = async (lsn: string): Promise<boolean> => {
    const query = `select count(*)::int as n from pg_stat_replication where flush_lsn >= '${lsn}'`;
    return ((await sql(server, 'postgres', query))[0] as { n: number }).n > 0;
  };
  await until('it follows', 60_000, () => isStored('0/0'));
  await work();
  const [{ lsn }] = (await sql(server, 'postgres', 'select pg_current_wal_lsn()::text as lsn')) as [{ lsn: string }];
  await until('all is stored', 60_000, () => isStored(lsn));
  child?.kill('SIGTERM');
  await ended;
}
