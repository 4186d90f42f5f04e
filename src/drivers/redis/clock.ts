// The server's clock as it goes on between two questions. Ours may be set meanwhile: what counts is how long it was.

import type { Clock, Context } from '../../core/model.ts';
import type { Connection } from './connection.ts';
import { isError, textOf } from './resp.ts';

export interface SourceClock {
  /** In milliseconds; it never goes back. Ours where the server may not be asked. */
  now(): number;
  /** How far it is from ours; undefined where it may not be asked. */
  measured(): Clock | undefined;
  /** Asks the server. */
  measure(): Promise<void>;
}

interface Sample {
  readonly theirMs: number;
  readonly takenMs: number;
  readonly errorMs: number;
}

const FIRST_SAMPLES = 3;
/** Of a second, that two clocks may drift apart in one. */
const DRIFT = 0.0002;
/** TIME is given in microseconds and taken in milliseconds. */
const ROUNDING_MS = 1;
const HELD_UP_MS = 60_000;

/** `notBefore`: what it has said already, in milliseconds. */
export async function sourceClock(ctx: Context, connection: Connection, notBefore: number): Promise<SourceClock> {
  let best: Sample | null = null;
  let latest = notBefore;
  let warned = false;

  const errorOf = ({ errorMs, takenMs }: Sample): number => errorMs + (ctx.monotonicMs() - takenMs) * DRIFT;
  const timeOf = ({ theirMs, takenMs }: Sample): number => theirMs + ctx.monotonicMs() - takenMs;
  /** One that was quickly answered tells more than a later one that was not, unless the clock was set. */
  function isBetter(sample: Sample): boolean {
    if (!best || sample.errorMs <= errorOf(best)) return true;
    return Math.abs(timeOf(sample) - timeOf(best)) > sample.errorMs + errorOf(best);
  }
  async function measure(): Promise<void> {
    const askedMs = ctx.monotonicMs();
    const theirMs = await askTime(connection);
    if (theirMs === null) return;
    const halfMs = (ctx.monotonicMs() - askedMs) / 2;
    const sample = { theirMs, takenMs: askedMs + halfMs, errorMs: halfMs + ROUNDING_MS };
    if (isBetter(sample)) best = sample;
  }
  for (let n = 0; n < FIRST_SAMPLES; n++) await measure();
  return {
    measure,
    now() {
      const now = Math.floor(best ? timeOf(best) : ctx.now().getTime());
      if (now < latest - HELD_UP_MS && !warned) {
        ctx.log.warn('the clock of the server went back: until it has caught up, the journal stands at one time', {
          now: new Date(now).toISOString(),
          journal: new Date(latest).toISOString(),
        });
        warned = true;
      }
      latest = Math.max(latest, now);
      return latest;
    },
    measured() {
      if (!best) return undefined;
      const aheadMs = Math.round(timeOf(best) - ctx.now().getTime());
      return { aheadMs, errorMs: Math.ceil(errorOf(best)) };
    },
  };
}

/** In milliseconds; null where it may not be asked. */
export async function askTime(connection: Connection): Promise<number | null> {
  const reply = await connection.ask('TIME');
  if (isError(reply) || !Array.isArray(reply)) return null;
  const [seconds = null, micros = null] = reply;
  return Number(textOf(seconds)) * 1000 + Math.floor(Number(textOf(micros)) / 1000);
}
