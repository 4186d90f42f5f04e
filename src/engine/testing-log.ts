// A service of the engine's tests that has a log: its position is the second of our clock at which a change came.

import type { Component, ReplayTarget } from '../core/component.ts';
import type { Driver } from '../core/driver.ts';
import type { LineageStart } from '../core/journal.ts';
import type { Context, Cut, Json } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import { type KvServer, kvDriver, kvServer } from './testing.ts';

const EPOCH_MS = Date.UTC(2026, 0, 1);

export interface LoggedServer extends KvServer {
  source: Json;
  readonly log: Change[];
  /** What its clock shows more than ours. */
  aheadMs: number;
  /** The second that it is. */
  now: number;
  /** Where its log ends, where that is not now. */
  end: number | null;
  /** Throws where a test wants it to. */
  standing: () => void | Promise<void>;
}
interface Change {
  readonly at: number;
  readonly key: string;
  readonly value: string;
}

/** By our clock. */
export function second(at: number): Date {
  return new Date(EPOCH_MS + at * 1000);
}

export function loggedServer(aheadMs = 0, source: Json = { log: 'one' }): LoggedServer {
  return { ...kvServer(), source, log: [], aheadMs, now: 0, end: null, standing: () => undefined };
}

export function change(server: LoggedServer, at: number, key: string, value: string): void {
  server.now = at;
  server.log.push({ at, key, value });
  server.data.set(key, value);
}

function cutOf({ aheadMs }: LoggedServer, at: number): Cut {
  return { position: String(at).padStart(6, '0'), at: new Date(second(at).getTime() + aheadMs).toISOString() };
}

export const loggedDriver = {
  ...kvDriver,
  kind: 'logged-kv',
  open: (settings: unknown) => loggedComponent(settings as LoggedServer),
} satisfies Driver;

function loggedComponent(server: LoggedServer): Component {
  const inner = kvDriver.open(server);
  return {
    ...inner,
    async standing() {
      await server.standing();
      const clock = { aheadMs: server.aheadMs, errorMs: 3 };
      const end = { ...cutOf(server, server.now), position: cutOf(server, server.end ?? server.now).position };
      return { source: server.source, end, clock };
    },
    async capture(ctx, sink, previous) {
      const made = await inner.capture(ctx, sink, previous);
      const cut = cutOf(server, server.now);
      return { ...made, cut, journal: { source: server.source, from: cut.position, to: cut.position } };
    },
    async restore(ctx, chain, options) {
      const restored = await inner.restore(ctx, chain, options);
      let reached: Cut | undefined;
      for await (const { body, until } of chain.replay?.ranges(ctx) ?? []) {
        for (const each of JSON.parse(Buffer.from(body).toString()) as Change[]) {
          if (until !== undefined && each.at > Number(until)) continue;
          if (!chain.replay || !isWanted(chain.replay.target, each.at, cutOf(server, each.at))) continue;
          server.data.set(each.key, each.value);
          reached = cutOf(server, each.at);
        }
      }
      return reached ? { ...restored, reached } : restored;
    },
  };
}

function isWanted(target: ReplayTarget, second: number, { at }: Cut): boolean {
  if (target.kind === 'time') return Date.parse(at) <= Date.parse(target.at);
  if (target.kind === 'position') return second <= Number(target.value);
  return target.kind === 'latest';
}

/** A lineage that begins at this second. */
export function startOf(server: LoggedServer, at: number, more: Partial<LineageStart> = {}): LineageStart {
  return { from: cutOf(server, at), base: null, why: 'first', source: server.source, parent: null, ...more };
}

/** What happened up to these seconds, a range for each; up to a negative one it is lost. */
export async function ship(
  ctx: Context,
  { store }: { readonly store: Store },
  component: string,
  server: LoggedServer,
  ends: readonly number[],
  begin?: LineageStart,
): Promise<void> {
  await using writer = await store.journal(component).write(ctx);
  if (begin || !writer.lineage()) await writer.begin(ctx, begin ?? startOf(server, 0));
  for (const end of ends) {
    const from = writer.durable() ?? cutOf(server, 0);
    const to = cutOf(server, Math.abs(end));
    const at = second(Math.abs(end)).toISOString();
    const changes = server.log.filter((each) => each.at > Number(from.position) && each.at <= end);
    const body = Buffer.from(JSON.stringify(changes));
    const clock = { aheadMs: server.aheadMs, errorMs: 3 };
    if (end < 0) await writer.gap(ctx, { from, to, at, reason: 'the slot was lost' });
    else await writer.append(ctx, { from, to, at, clock, body });
  }
}
