// Whether every moment of a window is there: its log has no gap, and what was read of it is what was written. And which
// gaps are no news: those that the newest moments do not need.

import type { Context, Finding } from '../core/model.ts';
import { inTime } from '../core/times.ts';
import type { NamedStore } from './model.ts';
import { type Recoverable, recoverable } from './windows.ts';

const HINT = 'run lifeboat verify --all --read-data to see all damage, and lifeboat backup for a point behind it';

/** Of all components that have a journal there. */
export async function followedIn(ctx: Context, { store }: NamedStore): Promise<readonly Recoverable[]> {
  const points = await Array.fromAsync(store.list(ctx));
  return await Array.fromAsync(store.journals(ctx), (component) => recoverable(ctx, store, component, points));
}

/** One for each window. `damaged`: whose journals the store's own check found so; `share`: how much that read. */
export function* windowFindings(
  followed: readonly Recoverable[],
  { damaged, share }: { readonly damaged: ReadonlySet<string>; readonly share: number },
): Iterable<Finding> {
  for (const { component, windows } of followed) {
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

/**
 * Gaps that were noted, as the store's own check tells them. One that nothing newer leads past stays a failure; any
 * other was told when it came, and stays until it is pruned.
 */
export function gapFindings(followed: readonly Recoverable[], noted: readonly Finding[]): readonly Finding[] {
  const past = new Set(followed.filter(leadsToEnd).map(({ component }) => component));
  return noted.map((gap) => {
    const { component = '' } = gap.journal ?? {};
    if (!past.has(component)) return gap;
    const check = `${component} can be recovered although its log has a gap`;
    return { check, verdict: 'pass', detail: `${gap.detail}; newer points lead past it` };
  });
}

/** Whether what is stored last can be had: some point leads there without a gap, or is newer itself. */
function leadsToEnd({ points, reaches, end }: Recoverable): boolean {
  if (!end) return false;
  const { lineage, edge } = end;
  if ((points.at(-1)?.ms ?? -Infinity) >= edge.ms) return true;
  return reaches.some(({ legs }) => {
    const last = legs.at(-1);
    return last?.lineage.id === lineage.id && last.to === edge.cut.position;
  });
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
