// What the tests of journals are made of.

import { memoryBucket } from '../../buckets/memory/bucket.ts';
import type { JournalGap, JournalRange, JournalWriter, LineageStart } from '../../core/journal.ts';
import type { Context, Cut, Finding } from '../../core/model.ts';
import type { Bucket, Store } from '../../core/storage.ts';
import { findings, noise, P1 } from './rig.suite.ts';

export const COMPONENT = 'main-db';

export function cut(at: number): Cut {
  return { position: String(at).padStart(8, '0'), at: new Date(Date.UTC(2026, 0, 1) + at * 1000).toISOString() };
}
export function start(at = 0, more: Partial<LineageStart> = {}): LineageStart {
  return { from: cut(at), base: P1, why: 'first', source: { timeline: 1 }, parent: null, ...more };
}
/** Its bytes tell where it belongs. */
export function range(
  from: number,
  to: number,
  body: Uint8Array = noise(from * 1000 + to, (to - from) * 10),
): JournalRange {
  return { from: cut(from), to: cut(to), at: cut(to).at, body };
}
export function gap(from: number, to: number, reason = 'the slot was lost'): JournalGap {
  return { from: cut(from), to: cut(to), at: cut(to).at, reason };
}

/** Begins a lineage and appends ranges that end at `ends`; a negative end is a gap up to there. */
export async function written(
  ctx: Context,
  writer: JournalWriter,
  begin: LineageStart,
  ends: readonly number[],
): Promise<string> {
  const { id } = await writer.begin(ctx, begin);
  let at = Number(begin.from.position);
  for (const end of ends) {
    if (end < 0) await writer.gap(ctx, gap(at, -end));
    else await writer.append(ctx, range(at, end));
    at = Math.abs(end);
  }
  return id;
}

export async function readAllOf(
  ctx: Context,
  store: Store,
  lineage: string,
  from: number,
  to: number | null = null,
  component = COMPONENT,
): Promise<JournalRange[]> {
  const place = { lineage, position: cut(from).position };
  const ranges = store.journal(component).read(ctx, place, to === null ? null : cut(to).position);
  return await Array.fromAsync(ranges, (each) => ({ ...each, body: Buffer.from(each.body) }));
}

/** 'from-to' of stretches, with why in the place of the ranges that are missing. */
export async function stretches(ctx: Context, store: Store, component = COMPONENT): Promise<string[]> {
  return await Array.fromAsync(store.journal(component).stretches(ctx), ({ lineage, from, to, gap: why, ranges }) => {
    const [begin, end] = [from, to].map(({ position }) => Number(position));
    return `${Number(lineage.id)}: ${begin}-${end} ${why ?? ranges}`;
  });
}

/** The bucket, and how many objects its listings showed. */
export function counting(bucket: Bucket = memoryBucket()): { bucket: Bucket; listed(): number } {
  let listed = 0;
  return {
    listed: () => listed,
    bucket: {
      ...bucket,
      async *list(ctx, prefix) {
        for await (const each of bucket.list(ctx, prefix)) {
          listed += 1;
          yield each;
        }
      },
    },
  };
}

/** Does something else just before the `moment`th look at a journal. */
export function interrupting(bucket: Bucket, moment: number, work: () => Promise<unknown>): Bucket {
  let looks = 0;
  const look = async (key: string): Promise<void> => {
    if (key.includes('/journal/') && ++looks === moment) await work();
  };
  return {
    ...bucket,
    async *get(ctx, key, part) {
      await look(key);
      yield* bucket.get(ctx, key, part);
    },
    async *list(ctx, prefix) {
      await look(prefix);
      for await (const each of bucket.list(ctx, prefix)) {
        yield each;
        await look(each.key);
      }
    },
    async *folders(ctx, prefix) {
      await look(prefix);
      yield* bucket.folders(ctx, prefix);
    },
  };
}

/** What a check finds wrong. */
export async function failures(ctx: Context, store: Store, readData = 1): Promise<Finding[]> {
  return (await findings(ctx, store, readData)).filter(({ verdict }) => verdict === 'fail');
}

/** Not of the gap that `gap` notes, which is told as often as it is looked at. */
export function isOfDamage({ detail }: Finding): boolean {
  return !detail.includes('the slot was lost');
}
