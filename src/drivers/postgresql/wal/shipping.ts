// What came of the log becomes ranges: a segment's end completes one, and so does the time that its first byte waits.
// One is collected while another is stored; a third has no room, and then nothing more is read.

import { release } from '../../../core/bytes.ts';
import type { Feed, JournalRange } from '../../../core/journal.ts';
import type { Clock, Context, Cut } from '../../../core/model.ts';
import { placeOf, positionAt } from './positions.ts';
import type { LogSent } from './stream.ts';

/** With what it takes to store it, a server's end then costs two seconds. */
const SHIP_MS = 1500;
/** Half of a usual segment: less memory, and what is larger a restic store can't seal in memory that it keeps. */
const SHIP_BYTES_MAX = 8 * 1024 * 1024;
const MEMORY_BYTES_MIN = 64 * 1024;
/** Memory that is so much larger than what it held is from busier times, and is given back. */
const MEMORY_RATIO_MAX = 16;

export interface Shipping {
  /** Up to where everything came. */
  received(): number;
  /** Takes what comes next. The bytes are the caller's again when it resolves. */
  add(bytes: Uint8Array, sent: LogSent): Promise<void>;
  /** Begins to store what has waited long enough. Throws what storing failed with, for good. */
  tick(): void;
  /** Stores all that came. */
  end(): Promise<void>;
}
export interface ShippingOptions {
  readonly feed: Pick<Feed, 'append' | 'durable'>;
  readonly segmentBytes: number;
  /** The timeline was left, nobody knows when: what is missing of it comes in the times of the next one. */
  readonly isPast: boolean;
  clock(): Clock | undefined;
  onDurable(): void;
}

/** Goes on from `from`, which is where the journal ends. */
export function shipLog(ctx: Context, from: Cut, options: ShippingOptions): Shipping {
  const { feed, segmentBytes, isPast, clock, onDurable } = options;
  const memories: Buffer[] = [];
  let begin = from;
  let place = placeOf(from.position);
  let memory: Buffer = Buffer.alloc(0);
  let used = 0;
  let firstMs = 0;
  /** All that was done by then lies before `place`. */
  let doneBy = from.at;
  /** Where the server's log ended at a time: with a backlog that is behind what came. */
  let mark: LogSent | null = null;
  let storing: Promise<void> | null = null;
  let broken: { readonly error: unknown } | null = null;

  function roomOf(): number {
    const toBoundary = segmentBytes - (place % segmentBytes);
    return Math.min(toBoundary, SHIP_BYTES_MAX - used);
  }
  function reach(): void {
    if (mark && place >= mark.end) [doneBy, mark] = [mark.at.toISOString(), null];
  }
  async function store(range: JournalRange, body: Buffer): Promise<void> {
    try {
      await feed.append(ctx, range);
      if (body.length > Math.max(MEMORY_BYTES_MIN, MEMORY_RATIO_MAX * range.body.length)) release(body.buffer);
      else memories.push(body);
      onDurable();
    } catch (error) {
      broken ??= { error };
    } finally {
      storing = null;
    }
  }
  function ship(): void {
    const to = { position: positionAt(place), at: doneBy };
    const range = { from: begin, to, at: ctx.now().toISOString(), clock: clock(), body: memory.subarray(0, used) };
    storing = store(range, memory);
    begin = to;
    memory = Buffer.alloc(0);
    used = 0;
  }
  /** Waits for what is being stored, as the next one has to follow it. */
  async function shipNext(): Promise<void> {
    await storing;
    if (broken) throw broken.error;
    if (used > 0) ship();
  }
  return {
    received: () => place,
    async add(bytes, sent) {
      reach();
      if (!isPast) mark ??= sent;
      for (let taken = 0; taken < bytes.length; ) {
        if (broken) throw broken.error;
        if (used === 0) firstMs = ctx.monotonicMs();
        const piece = bytes.subarray(taken, taken + roomOf());
        memory = roomFor(memory, used, piece.length, memories);
        memory.set(piece, used);
        used += piece.length;
        taken += piece.length;
        place += piece.length;
        reach();
        if (used === SHIP_BYTES_MAX || place % segmentBytes === 0) await shipNext();
      }
    },
    tick() {
      if (broken) throw broken.error;
      if (!storing && used > 0 && ctx.monotonicMs() - firstMs >= SHIP_MS) ship();
    },
    async end() {
      await shipNext();
      await storing;
      if (broken) throw broken.error;
    },
  };
}

/** Most ranges of a quiet server are small: memory for a whole one is taken when it is needed, and used again. */
function roomFor(memory: Buffer, used: number, more: number, free: Buffer[]): Buffer {
  if (used + more <= memory.length) return memory;
  const known = free.findIndex(({ length }) => used + more <= length);
  const larger =
    known >= 0
      ? (free.splice(known, 1)[0] ?? Buffer.alloc(0))
      : Buffer.allocUnsafeSlow(Math.min(SHIP_BYTES_MAX, Math.max(MEMORY_BYTES_MIN, 4 * (used + more))));
  free.splice(2);
  larger.set(memory.subarray(0, used));
  return larger;
}
