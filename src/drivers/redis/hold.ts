// What has come of the log and is not stored yet: one room is filled while the other is stored, and when both are full
// nothing more is read.

import type { Context } from '../../core/model.ts';
import { records, type Shipment } from './records.ts';

const ROOM_BYTES = 4 * 1024 * 1024;
const SHIP_MS = 1_000;

export interface Hold {
  /** Resolves when there was room for all of it, or nobody takes any more. */
  add(piece: Buffer, at: number): Promise<void>;
  /** Somebody waits for what has come. */
  hurry(): void;
  /** Nothing more will come. */
  end(): void;
  /** What came within a second, or as much as there is room for; null when that was all. */
  next(ctx: Context): Promise<Shipment | null>;
}

export function hold(): Hold {
  let [filling, shipping] = [records(ROOM_BYTES), records(ROOM_BYTES)];
  let takenAtMs = Number.NEGATIVE_INFINITY;
  let hurried = false;
  let ended = false;
  let changed = Promise.withResolvers<void>();
  let room = Promise.withResolvers<void>();

  function tell(): void {
    changed.resolve();
    changed = Promise.withResolvers();
  }
  async function due(ctx: Context): Promise<void> {
    for (;;) {
      const waiting = filling.bytes > 0;
      const leftMs = takenAtMs + SHIP_MS - ctx.monotonicMs();
      if (ended || filling.isFull || (waiting && (hurried || leftMs <= 0))) return;
      const change = changed.promise;
      await (waiting ? Promise.race([change, ctx.sleep(leftMs)]) : change);
    }
  }
  return {
    async add(piece, at) {
      for (let rest = piece; rest.length > 0 && !ended; ) {
        const isFirst = filling.bytes === 0;
        rest = filling.add(rest, at);
        if (isFirst || filling.isFull) tell();
        if (rest.length > 0) await room.promise;
      }
    },
    hurry() {
      hurried = true;
      tell();
    },
    end() {
      ended = true;
      tell();
      room.resolve();
    },
    async next(ctx) {
      await due(ctx);
      if (filling.bytes === 0) return null;
      shipping.clear();
      [filling, shipping] = [shipping, filling];
      takenAtMs = ctx.monotonicMs();
      hurried = false;
      room.resolve();
      room = Promise.withResolvers();
      return shipping.taken();
    },
  };
}
