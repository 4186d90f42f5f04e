// Whether every moment of a window is there: its log has no gap, and what was read of it is what was written.

import type { Context, Finding } from '../core/model.ts';
import { inTime } from '../core/times.ts';
import type { NamedStore } from './model.ts';
import { recoverable } from './windows.ts';

const HINT = 'run lifeboat verify --all --read-data to see all damage, and lifeboat backup for a point behind it';

/** One for each window. `damaged`: whose journals the store's own check found so; `share`: how much that read. */
export async function* windowFindings(
  ctx: Context,
  { store }: NamedStore,
  { damaged, share }: { readonly damaged: ReadonlySet<string>; readonly share: number },
): AsyncIterable<Finding> {
  const points = await Array.fromAsync(store.list(ctx));
  for await (const component of store.journals(ctx)) {
    const { windows } = await recoverable(ctx, store, component, points);
    for (const { from, to, ranges } of windows) {
      const check = `${component} can be brought to any moment from ${inTime(from.ms)} to ${inTime(to.ms)}`;
      const read =
        share >= 1 ? 'each read and proved' : share > 0 ? `${percent(share)} of them read` : 'by their names';
      if (!damaged.has(component))
        yield {
          check,
          verdict: 'pass',
          detail: `${ranges} ${ranges === 1 ? 'range' : 'ranges'} without a gap, ${read}`,
        };
      else yield { check, verdict: 'unknown', detail: 'its journal is damaged, or could not be read', hint: HINT };
    }
  }
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
