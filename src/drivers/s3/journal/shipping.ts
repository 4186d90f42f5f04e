// What a look has found, put together into ranges of the journal: the bytes of objects, and then their entries.

import type { Bytes, Clock, Context, Part, Sink } from '../../../core/model.ts';
import type { Rounds } from '../../../core/moments.ts';
import { gate } from '../../../core/parallel.ts';
import type { CapturedBucket } from '../buckets.ts';
import { type Entry, entryLine } from '../entries.ts';
import { type Gone, type Header, type LoggedPart, rangeBody } from './format.ts';

const RANGE_BYTES = 8 * 1024 * 1024;
const GONE_CHARS = 120;

export interface Shipper {
  /** Takes the bytes of objects. */
  readonly sink: Sink;
  /** Their bytes were taken. */
  entries(ctx: Context, entries: readonly Entry[]): Promise<void>;
  gone(ctx: Context, gone: readonly Gone[]): Promise<void>;
  bucket(bucket: CapturedBucket): void;
  bucketGone(name: string): void;
  /** The round is over. */
  end(ctx: Context, clock: Clock | undefined): Promise<void>;
  readonly isEmpty: boolean;
}

interface Waiting {
  parts: LoggedPart[];
  bodies: Uint8Array[];
  entries: Entry[];
  gone: Gone[];
  buckets: CapturedBucket[];
  bucketsGone: string[];
}

function nothing(): Waiting {
  return { parts: [], bodies: [], entries: [], gone: [], buckets: [], bucketsGone: [] };
}

export function shipperOf(rounds: Rounds, { toMs, looked }: { toMs: number; looked: number }): Shipper {
  const fromMs = rounds.atMs();
  const turns = gate(1);
  let waiting = nothing();
  let size = 0;
  let stored = 0;
  function headOf({ parts, entries, gone, buckets, bucketsGone }: Waiting): Header {
    return { format: 1, round: [fromMs, toMs], looked, parts, entries, gone, buckets, buckets_gone: bucketsGone };
  }
  async function flush(ctx: Context): Promise<void> {
    const full = waiting;
    await rounds.more(ctx, rangeBody(headOf(full), full.bodies));
    waiting = nothing();
    size = 0;
    stored += 1;
  }
  async function room(ctx: Context, bytes: number): Promise<void> {
    if (size > 0 && size + bytes > RANGE_BYTES) await flush(ctx);
    size += bytes;
  }
  async function part(ctx: Context, name: string, body: Uint8Array, piece?: LoggedPart['piece']): Promise<void> {
    await room(ctx, body.length);
    waiting.parts.push({ name, bytes: body.length, ...(piece ? { piece } : {}) });
    waiting.bodies.push(Buffer.from(body)); // it is borrowed
  }
  const partOfOurs = (name: string, bytes: number): Part => ({ name, bytes, digest: '', point: '', component: '' });
  const sink: Sink = {
    async put(ctx, name, body) {
      let bytes = 0;
      let piece: LoggedPart['piece'] = 'first';
      let held: Buffer | null = null;
      for await (const block of blocksOf(body)) {
        const ready = held;
        held = block;
        if (!ready) continue;
        const which = piece;
        await turns.run(() => part(ctx, name, ready, which));
        bytes += ready.length;
        piece = 'middle';
      }
      const last = held ?? Buffer.alloc(0);
      const which = piece === 'first' ? undefined : 'last';
      await turns.run(() => part(ctx, name, last, which));
      return partOfOurs(name, bytes + last.length);
    },
    async putAll(ctx, parts) {
      for (const { name, whole } of parts) await turns.run(() => part(ctx, name, whole));
      return parts.map(({ name, whole }) => partOfOurs(name, whole.length));
    },
    keep: () => Promise.reject(new Error('nothing is kept in a journal')),
    receipt: () => Promise.reject(new Error('a journal gives no receipts')),
  };
  return {
    sink,
    get isEmpty() {
      return stored === 0 && Object.values(waiting).every(({ length }) => length === 0);
    },
    entries: (ctx, entries) =>
      turns.run(async () => {
        for (const entry of entries) {
          await room(ctx, entryLine(entry).length * 2);
          waiting.entries.push(entry);
        }
      }),
    gone: (ctx, gone) =>
      turns.run(async () => {
        for (const { bucket, key, version } of gone) {
          await room(ctx, GONE_CHARS + key.length * 2);
          waiting.gone.push({ bucket, key, version });
        }
      }),
    bucket: (bucket) => void waiting.buckets.push(bucket),
    bucketGone: (name) => void waiting.bucketsGone.push(name),
    end: (ctx, clock) => turns.run(() => rounds.upTo(ctx, toMs, rangeBody(headOf(waiting), waiting.bodies), clock)),
  };
}

async function* blocksOf(body: Bytes): AsyncIterable<Buffer> {
  let held: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    held.push(Buffer.from(chunk));
    bytes += chunk.length;
    if (bytes < RANGE_BYTES / 2) continue;
    yield Buffer.concat(held);
    held = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(held);
}
