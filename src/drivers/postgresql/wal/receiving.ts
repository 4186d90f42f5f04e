// Takes what a stream brings, and tells the server how far it is safe.

import { Failure } from '../../../core/errors.ts';
import type { Feed } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import type { Known } from './known.ts';
import { lsnAt, placeOf } from './positions.ts';
import type { Pulse } from './pulse.ts';
import type { Shipping } from './shipping.ts';
import type { WalMessage, WalStream } from './stream.ts';

const TICK_MS = 500;
const REPORT_MS_MAX = 10_000;
/** Of the server's patience: while there is no room nothing is read, and it is not heard asking. */
const PATIENCE_SHARE = 3;
/** The server answers each report at once. */
const SILENCE_MS_MAX = 60_000;

export interface Receiving {
  /** Until the timeline ends. */
  run(): Promise<void>;
  /** What has to be done now and then meanwhile. `check` throws what else went wrong. */
  watch(check: () => void): Promise<never>;
  report(): void;
}
export interface ReceivingOptions {
  readonly where: string;
  /** How long the server waits for a word; 0: for ever. */
  readonly patienceMs: number;
  readonly stream: WalStream;
  readonly feed: Pick<Feed, 'durable'>;
  readonly shipping: Shipping;
  readonly pulse: Pick<Pulse, 'seen'>;
  readonly known: Known;
}

export function receiveLog(ctx: Context, options: ReceivingOptions): Receiving {
  const { where, patienceMs, stream, feed, shipping, pulse, known } = options;
  const reportMs = Math.min(REPORT_MS_MAX, (patienceMs || Number.POSITIVE_INFINITY) / PATIENCE_SHARE);
  let next = placeOf(known.from);
  let heardMs = ctx.monotonicMs();
  let reportedMs = heardMs;
  /** Nothing is read while there is no room. */
  let isWaiting = false;

  function report(wantsReply = false): void {
    reportedMs = ctx.monotonicMs();
    const durable = feed.durable();
    if (durable) stream.report(ctx, { written: shipping.received(), flushed: placeOf(durable.position), wantsReply });
  }
  async function take(message: Extract<WalMessage, { kind: 'log' }>): Promise<void> {
    if (message.from !== next) {
      const [given, asked] = [message.from, next].map((each) => lsnAt(each));
      throw new Failure('malformed', `${where}: the server sent its log from ${given} where ${asked} is next`);
    }
    for (let piece = await message.piece(); piece; piece = await message.piece()) {
      isWaiting = true;
      next += piece.length;
      await shipping.add(await known.beyond(piece), message);
      isWaiting = false;
      heardMs = ctx.monotonicMs();
    }
  }
  return {
    report: () => report(),
    async run() {
      for (;;) {
        const message = await stream.next();
        heardMs = ctx.monotonicMs();
        if (message.kind === 'end') return;
        pulse.seen(message.at);
        if (message.kind === 'log') await take(message);
        else if (message.wantsReply) report();
      }
    },
    async watch(check) {
      for (;;) {
        await ctx.sleep(TICK_MS);
        check();
        shipping.tick();
        const nowMs = ctx.monotonicMs();
        if (nowMs - reportedMs >= reportMs) report(true);
        if (isWaiting || nowMs - heardMs <= SILENCE_MS_MAX) continue;
        throw new Failure('unreachable', `${where}: the server has been silent for ${SILENCE_MS_MAX / 1000} s`);
      }
    },
  };
}
