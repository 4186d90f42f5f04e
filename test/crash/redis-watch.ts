// Looks at a Redis again and again: how far its log goes, and how much of it follow has told it to be stored.

import { liveContext } from '../../src/core/testing.ts';
import { readInfo } from '../../src/drivers/redis/connection.ts';
import { positionOf, replicationIdOf } from '../../src/drivers/redis/position.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { pause } from './chaos.ts';
import type { Claim } from './store.ts';

const LOOK_MS = 100;

interface Look {
  readonly askedMs: number;
  readonly toldMs: number;
  readonly log: string;
  readonly end: bigint;
  readonly acknowledged: bigint;
}

export interface Watch extends AsyncDisposable {
  /** All that was done by then was acknowledged when it was `atMs`, in milliseconds; zero when nothing was. */
  acknowledgedBy(atMs: number): number;
  /** What follow has acknowledged last of each log that it has followed. */
  claims(): readonly Claim[];
  stop(): Promise<void>;
}

/** Zero while nobody follows, or while there is no point yet. */
export function acknowledgedIn(info: ReadonlyMap<string, string>): bigint {
  const [, offset = '0'] = /state=online,offset=(\d+)/.exec(info.get('slave0') ?? '') ?? [];
  return BigInt(offset);
}

export function startWatch(url: string): Watch {
  const ctx = liveContext();
  const looks: Look[] = [];
  let isOver = false;

  async function look(): Promise<void> {
    await using connection = await open(ctx, { url, timeout: '5s' });
    while (!isOver) {
      const askedMs = Date.now();
      const info = await readInfo(connection);
      const [log = '', end = '0'] = [info.get('master_replid'), info.get('master_repl_offset')];
      looks.push({ askedMs, toldMs: Date.now(), log, end: BigInt(end), acknowledged: acknowledgedIn(info) });
      await pause(LOOK_MS);
    }
  }
  const running = (async () => {
    // While it is dead there is nothing to be seen.
    while (!isOver) await look().catch(() => pause(LOOK_MS));
  })();
  const stop = async (): Promise<void> => {
    isOver = true;
    await running;
  };
  return {
    acknowledgedBy(atMs) {
      for (const { toldMs, log, acknowledged } of looks.toReversed()) {
        if (toldMs > atMs || acknowledged === 0n) continue;
        const all = looks.findLast((each) => each.log === log && each.end <= acknowledged);
        if (all) return all.askedMs;
      }
      return 0;
    },
    claims() {
      const last = new Map<string, bigint>();
      for (const { log, acknowledged } of looks) if (acknowledged > 0n) last.set(log, acknowledged);
      return [...last].map(([log, offset]) => {
        return { isOf: (source) => replicationIdOf(source) === log, position: positionOf(offset) };
      });
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
