// Markers: written while components are followed, and read in what came back, so that the loss is measured from the
// data itself.

import type { Component } from '../core/component.ts';
import { withDeadline, withSignal } from '../core/context.ts';
import { isFailure, messageOf } from '../core/errors.ts';
import type { FoundMarker } from '../core/marker.ts';
import type { Context } from '../core/model.ts';
import type { StackComponent } from './model.ts';
import type { Origin } from './moment.ts';

/** Longer than this nothing is waited for: a service in trouble has better to do. */
const MARKER_MS_MAX = 15_000;

/**
 * Until it is disposed of, or the signal. A service that takes none is told of once, and tried again; nobody waits for
 * it.
 */
export function marking(ctx: Context, components: readonly StackComponent[]): AsyncDisposable {
  const stop = new AbortController();
  const all = Promise.all(components.map((each) => markOne(withSignal(ctx, stop.signal), each)));
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await all;
    },
  };
}

async function markOne(ctx: Context, { name, component, markersMs }: StackComponent): Promise<void> {
  const { mark, marker } = component;
  if (markersMs === undefined || !mark || !marker) return;
  let last: number | null = null;
  let isTold = false;
  while (!ctx.signal.aborted) {
    try {
      last = await withDeadline(ctx, MARKER_MS_MAX, `marking ${name}`, async (within) => {
        const number = 1 + (last ?? (await marker(within))?.number ?? 0);
        await mark(within, { number, at: ctx.now().toISOString() });
        return number;
      });
      isTold = false;
    } catch (error) {
      last = null;
      const hint = isFailure(error) ? error.hint : undefined;
      const fields = { component: name, reason: messageOf(error), hint };
      if (!isTold && !ctx.signal.aborted) ctx.log.warn('no marker could be written', fields);
      isTold = true;
    }
    await ctx.sleep(markersMs).catch(() => {}); // the signal is looked at next
  }
}

/** What was written after the newest marker that came back may be lost. */
export interface Loss {
  readonly marker: FoundMarker;
  /** From the marker to the moment that was asked for; below zero where clocks differ. */
  readonly lostMs: number;
}

/** Says nothing of components that are not marked: an old marker in them tells nothing. */
export async function lossOf(
  ctx: Context,
  { name, markersMs }: StackComponent,
  back: Component,
  { aim }: Pick<Origin, 'aim'>,
  now: Date,
): Promise<{ readonly loss: Loss | null; readonly warnings: readonly string[] }> {
  const { marker } = back;
  if (markersMs === undefined || !marker) return { loss: null, warnings: [] };
  try {
    const found = await withDeadline(ctx, MARKER_MS_MAX, `reading the marker of ${name}`, (within) => marker(within));
    if (!found) return { loss: null, warnings: ['no marker came back with it: what was lost can not be measured'] };
    const instantMs = aim?.at == null ? now.getTime() : Date.parse(aim.at);
    return { loss: { marker: found, lostMs: instantMs - Date.parse(found.at) }, warnings: [] };
  } catch (error) {
    return { loss: null, warnings: ctx.signal.aborted ? [] : [`its marker can not be read: ${messageOf(error)}`] };
  }
}

export function lossJson(loss: Loss | null): { number: number; at: string; where: string; lost_ms: number } | null {
  return loss && { ...loss.marker, lost_ms: loss.lostMs };
}
