// Looks at a Redis again and again: whether follow was its replica all the time, and what it was told to be stored.

import { liveContext } from '../../src/core/testing.ts';
import { readInfo } from '../../src/drivers/redis/connection.ts';
import { positionOf, replicationIdOf } from '../../src/drivers/redis/position.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { pause } from './chaos.ts';
import type { Claim } from './store.ts';

const LOOK_MS = 100;
/** Within it everything has come over a way that stands, also on a busy machine. */
const LAG_MS = 1500;
/** Nobody knows what was between two looks that lie farther apart. */
const BLIND_MS = 500;

export interface Watch {
  /** What was done by then had come to who follows when it was `atMs`, in milliseconds. */
  cameBy(atMs: number): number;
  /** What follow has acknowledged last of each log that it has followed. */
  claims(): readonly Claim[];
  stop(): Promise<void>;
}

export function startWatch(url: string): Watch {
  const ctx = liveContext();
  const looks: { readonly ms: number; readonly isLinked: boolean }[] = [];
  const acknowledged = new Map<string, bigint>();
  let isOver = false;

  async function look(): Promise<void> {
    try {
      await using connection = await open(ctx, { url, timeout: '5s' });
      while (!isOver) {
        const ms = Date.now();
        const info = await readInfo(connection);
        const id = info.get('master_replid') ?? '';
        const [, offset] = /state=online,offset=(\d+)/.exec(info.get('slave0') ?? '') ?? [];
        looks.push({ ms, isLinked: offset !== undefined });
        if (BigInt(offset ?? 0) > (acknowledged.get(id) ?? 0n)) acknowledged.set(id, BigInt(offset ?? 0));
        await pause(LOOK_MS);
      }
    } catch {
      looks.push({ ms: Date.now(), isLinked: false });
      await pause(LOOK_MS);
    }
  }
  const running = (async () => {
    while (!isOver) await look();
  })();
  return {
    cameBy(atMs) {
      let until = atMs;
      // Backwards, to the last time since which the way has stood for so long.
      for (let at = looks.findLastIndex(({ ms }) => ms <= atMs); at > 0; at--) {
        const [look, next] = looks.slice(at, at + 2);
        if (!look?.isLinked || (next?.ms ?? look.ms) - look.ms > BLIND_MS) until = look?.ms ?? 0;
        else if (until - look.ms >= LAG_MS) return look.ms;
      }
      return 0;
    },
    claims: () =>
      [...acknowledged].map(([id, offset]) => ({
        isOf: (source) => replicationIdOf(source) === id,
        position: positionOf(offset),
      })),
    async stop() {
      isOver = true;
      await running;
    },
  };
}
