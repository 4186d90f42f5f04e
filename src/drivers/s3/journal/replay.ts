// The journal on top of a point: which objects are to come back, and those of them whose bytes the journal has.

import type { Chain, Replay } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Bytes, Context, RestoreOptions, Source } from '../../../core/model.ts';
import { untilOf } from '../../../core/moments.ts';
import { type Entry, partOf } from '../entries.ts';
import { type Job, type Run, writeRuns } from '../write-runs.ts';
import type { Place } from '../writing.ts';
import { readRange } from './format.ts';
import { type Overlay, overlay } from './overlay.ts';

export interface Replaying extends Overlay {
  readonly replay: Replay;
}

/** Null where only the point is restored. */
export async function replayingOf(
  ctx: Context,
  { base, replay }: Chain,
  { select, delta }: RestoreOptions,
): Promise<Replaying | null> {
  if (!replay || replay.target.kind === 'immediate') return null;
  if (delta || select?.asOf !== undefined) {
    throw new Failure('usage', `s3: ${delta ? '--delta' : 'as_of'} is for a point alone, without its journal`, {
      hint: 'restore in place, or the point without a moment after it',
    });
  }
  return { replay, ...(await overlay(ctx, base, replay.ranges(ctx), untilOf(replay.target, 's3'))) };
}

/** Entries of the journal, by how many come before each. */
export interface Wanted {
  add(at: number): void;
  has(at: number): boolean;
}
export function wantedEntries(): Wanted {
  let bits = new Uint8Array(1024);
  return {
    add(at) {
      if (at >> 3 >= bits.length) {
        const more = new Uint8Array(Math.max(bits.length * 2, (at >> 3) + 1));
        more.set(bits);
        bits = more;
      }
      bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
    },
    has: (at) => ((bits[at >> 3] ?? 0) & (1 << (at & 7))) !== 0,
  };
}

/** Of a large one. */
interface FirstPiece {
  /** Where the range begins that has it, and which of its parts it is. */
  readonly range: string;
  readonly index: number;
}

/** Writes the wanted ones in the order in which they came. */
export async function replayObjects(
  ctx: Context,
  job: Job,
  { replay }: Replaying,
  { wanted, placeOf }: { wanted: Wanted; placeOf: (bucket: string) => Place | undefined },
): Promise<void> {
  let at = 0;
  const parts = new Map<string, Buffer>();
  const places = new Map<string, FirstPiece>();
  const forget = (name: string): void => {
    places.delete(name);
    parts.delete(name);
  };
  for await (const range of replay.ranges(ctx)) {
    const { head, data } = readRange(range);
    let offset = 0;
    for (const [index, { name, bytes, piece }] of head.parts.entries()) {
      // What came before of the same name was given up: it changed while it was read, or following was killed.
      if (piece === undefined || piece === 'first') forget(name);
      if (piece === 'first') places.set(name, { range: range.from.position, index });
      if (piece === undefined) parts.set(name, Buffer.from(data.subarray(offset, offset + bytes)));
      offset += bytes;
    }
    const runs = new Map<string, Run & { entries: Entry[] }>();
    for (const entry of head.entries) {
      const place = wanted.has(at++) ? placeOf(entry.bucket) : undefined;
      if (!place) continue;
      const key = JSON.stringify([entry.bucket, entry.key]);
      const run = runs.get(key) ?? { place, entries: [], there: undefined, isThere: false };
      run.entries.push(entry);
      runs.set(key, run);
    }
    if (runs.size > 0)
      await writeRuns(ctx, { ...job, source: sourceOf(job.source, replay, parts, places) }, [...runs.values()]);
    for (const entry of head.entries) forget(partOf(entry));
  }
}

/** Of objects of the journal: those that are held, and large ones, which are read again from where they begin. */
function sourceOf(
  { point, component }: Source,
  replay: Replay,
  parts: ReadonlyMap<string, Buffer>,
  places: ReadonlyMap<string, FirstPiece>,
): Source {
  const missing = (name: string): Failure => {
    return new Failure('missing', `the journal after ${point}/${component} has no ${name}`);
  };
  async function* pieces(ctx: Context, name: string): Bytes {
    const first = places.get(name);
    if (!first) throw missing(name);
    for await (const range of replay.ranges(ctx, first.range)) {
      const { head, data } = readRange(range);
      const isBefore = (index: number): boolean => range.from.position === first.range && index < first.index;
      let offset = 0;
      for (const [index, part] of head.parts.entries()) {
        const begin = offset;
        offset += part.bytes;
        if (part.name !== name || isBefore(index)) continue;
        yield data.subarray(begin, offset);
        if (part.piece === 'last') return;
      }
    }
  }
  return {
    point,
    component,
    async *parts() {},
    async part(_ctx, name) {
      const held = parts.get(name);
      if (!held) throw missing(name);
      return { name, bytes: held.length, digest: '', point, component };
    },
    async *get(ctx, name) {
      const held = parts.get(name);
      if (held) yield held;
      else yield* pieces(ctx, name);
    },
  };
}
