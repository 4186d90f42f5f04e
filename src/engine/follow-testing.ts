// A service whose log is a list of numbers, and who follows it, for the tests of what follows.

import { bytesOf, readAll } from '../core/bytes.ts';
import type { Component } from '../core/component.ts';
import { Failure } from '../core/errors.ts';
import { putInventory } from '../core/inventory.ts';
import type { Feed, JournalEntry, JournalRange, JournalWriter, Lineage } from '../core/journal.ts';
import type { Context, Cut } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import type { TestContext } from '../core/testing.ts';
import { type Followed, type FollowRequest, follow } from './follow.ts';
import type { FollowStore, FollowView } from './follow-views.ts';
import type { NamedStore, StackComponent } from './model.ts';
import { kv, kvDriver, kvServer } from './testing.ts';

const PER_RANGE = 3;

export interface NumbersServer {
  /** Which log it is: another one after a full resync. */
  id: string;
  readonly numbers: number[];
  /** What lies before is gone. */
  since: number;
  /** It may forget what lies before. */
  acknowledged: number;
  /** Throws where a test wants it to. */
  fault: (step: 'follow' | 'append' | 'base') => void | Promise<void>;
  /** Its copy comes with the log, as in Redis' full sync. */
  syncs: boolean;
  /** Ends the wait for more. */
  wake: () => void;
}
export function numbersServer(count = 0): NumbersServer {
  const numbers = Array.from({ length: count }, (_, at) => at);
  return { ...{ id: 'log-1', numbers, since: 0, acknowledged: 0, syncs: false }, fault: () => {}, wake: () => {} };
}
export function grow(server: NumbersServer, count: number): void {
  for (let left = count; left > 0; left--) server.numbers.push(server.numbers.length);
  server.wake();
}

export function cutAt(at: number): Cut {
  return { position: String(at).padStart(8, '0'), at: new Date(Date.UTC(2026, 0, 1) + at * 1000).toISOString() };
}
function rangeOf(server: NumbersServer, from: number, to: number): JournalRange {
  const body = Buffer.from(server.numbers.slice(from, to).join());
  return { from: cutAt(from), to: cutAt(to), at: cutAt(to).at, clock: { aheadMs: from, errorMs: 1 }, body };
}

export function numbers(name: string, server: NumbersServer): StackComponent {
  return { ...kv(name, kvServer(), { driver: kvDriver }), component: numbersComponent(server) };
}

function numbersComponent(server: NumbersServer): Component {
  const capture: Component['capture'] = async (ctx, sink) => {
    await server.fault('base');
    const at = server.numbers.length;
    await sink.put(ctx, 'numbers.json', bytesOf(JSON.stringify(server.numbers)));
    await putInventory(ctx, sink, [{ kind: 'numbers', name: 'all', count: at, digest: null }]);
    const journal = { source: { id: server.id }, from: cutAt(at).position, to: cutAt(at).position };
    const told = { method: 'logical', serverVersion: '1', identity: 'n', inventoryLevel: 'full', totals: {} } as const;
    return { cut: cutAt(at), ...told, warnings: [], journal };
  };
  return {
    ...kvDriver.open(kvServer()),
    capture,
    async follow(ctx, feed) {
      await server.fault('follow');
      if ((feed.lineage()?.source as { id?: string } | undefined)?.id !== server.id) await begin(ctx, feed);
      for (;;) {
        const at = Number(feed.durable()?.position);
        if (at < server.since)
          await feed.gap(ctx, { from: cutAt(at), to: cutAt(server.since), at: cutAt(at).at, reason: 'trimmed' });
        else if (at < server.numbers.length) {
          await server.fault('append');
          await feed.append(ctx, rangeOf(server, at, Math.min(at + PER_RANGE, server.numbers.length)));
        } else await more(ctx, server);
        server.acknowledged = Number(feed.durable()?.position);
        ctx.signal.throwIfAborted();
      }
    },
  };
  async function begin(ctx: Context, feed: Feed): Promise<void> {
    const start = { base: null, why: 'first', source: { id: server.id }, parent: null };
    await feed.begin(ctx, { ...start, from: cutAt(server.numbers.length) });
    await feed.base(ctx, 'nothing to go on from', server.syncs ? (within, sink) => capture(within, sink) : undefined);
  }
}

/** Lets the log grow and puts what came into the journal, a lineage for each log. */
export async function feedNumbers(
  ctx: Context,
  store: Store,
  component: string,
  server: NumbersServer,
  count: number,
  held?: JournalWriter,
): Promise<void> {
  await using own = held ? null : await store.journal(component).write(ctx);
  const writer = held ?? own;
  if (!writer) throw new Error('a writer is there');
  const start = { base: null, why: 'first', source: { id: server.id }, parent: null };
  const known = writer.lineage();
  if ((known?.source as { id?: string } | undefined)?.id !== server.id) {
    await writer.begin(ctx, { ...start, from: cutAt(server.numbers.length) });
  }
  grow(server, count);
  for (;;) {
    const at = Number(writer.durable()?.position);
    if (at >= server.numbers.length) return;
    await writer.append(ctx, rangeOf(server, at, Math.min(at + PER_RANGE, server.numbers.length)));
  }
}

async function more({ signal }: Context, server: NumbersServer): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve) => {
    server.wake = resolve;
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** As follow opens a store that somebody else keeps open. */
export function followStore({ name, store }: NamedStore, open: () => void | Promise<void> = () => {}): FollowStore {
  return {
    name,
    async open() {
      await open();
      return { name, store, [Symbol.asyncDispose]: async () => {} };
    },
  };
}

export interface Running {
  /** Resolves when what is told fits. */
  until(fits: (view: FollowView) => boolean): Promise<FollowView>;
  stop(): Promise<readonly Followed[]>;
  /** Resolves when a point was taken. */
  based(component?: string): Promise<void>;
  readonly done: Promise<readonly Followed[]>;
}

/** Follows until it is stopped. */
export function running(ctx: TestContext, request: Omit<FollowRequest, 'stack' | 'told'>): Running {
  const controller = new AbortController();
  const views = new Map<string, FollowView>();
  const waiting = new Set<() => void>();
  const done = follow(
    { ...ctx, signal: controller.signal },
    {
      ...request,
      stack: 'shop',
      told(view) {
        views.set(view.component, view);
        for (const look of waiting) look();
      },
    },
  );
  const until: Running['until'] = (fits) =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = [...views.values()].find(fits);
        if (!found) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
      done.then(() => reject(new Error('it ended')), reject);
    });
  return {
    done,
    until,
    async based(component = 'db') {
      await until((view) => view.component === component && view.takesPoint);
      await until((view) => view.component === component && !view.takesPoint);
    },
    async stop() {
      controller.abort(new Failure('interrupted', 'stopped'));
      return await done;
    },
  };
}
/** All is stored up to there, in all stores. */
export const upTo =
  (at: number) =>
  ({ durable, copies }: FollowView) =>
    durable?.position === cutAt(at).position && copies.every(({ behind }) => !behind);

export interface Told {
  readonly lineage: Lineage;
  readonly entries: readonly JournalEntry[];
}
/** All that a journal has. */
export async function journalOf(ctx: Context, store: Store, component: string): Promise<readonly Told[]> {
  const journal = store.journal(component);
  const all: Told[] = [];
  for await (const lineage of journal.lineages(ctx)) {
    const place = { lineage: lineage.id, position: lineage.from.position };
    all.push({ lineage, entries: await Array.fromAsync(journal.entries(ctx, place)) });
  }
  return all;
}
/** 'from-to: 1,2,3', with the reason in the place of the numbers that are missing. */
export async function textOf(ctx: Context, store: Store, component: string): Promise<readonly string[]> {
  return (await journalOf(ctx, store, component)).flatMap(({ lineage: { id }, entries }) =>
    entries.map((entry) => {
      const [from, to] = [entry.from, entry.to].map(({ position }) => Number(position));
      return `${Number(id)} ${from}-${to}: ${'body' in entry ? Buffer.from(entry.body).toString() : entry.reason}`;
    }),
  );
}
/** The numbers of a lineage, which must follow one another without a gap and without one twice. */
export async function numbersIn(ctx: Context, store: Store, component: string): Promise<readonly number[]> {
  const [told] = (await journalOf(ctx, store, component)).slice(-1);
  return (told?.entries ?? []).flatMap((entry) => {
    if (!('body' in entry)) throw new Error(`a gap: ${entry.reason}`);
    return Buffer.from(entry.body).toString().split(',').map(Number);
  });
}
export async function pointNumbers(ctx: Context, store: Store, point: string, component: string): Promise<unknown> {
  const source = await store.open(ctx, point, component);
  return JSON.parse((await readAll(source.get(ctx, 'numbers.json'))).toString());
}
