// The history files of timelines: where each one went on from another. A server needs those of the timelines that it
// goes through, and must see those of all others, so that it gives its own new timeline a number that nobody has.

import { z } from 'zod';
import type { Lineage } from '../../../core/journal.ts';
import { historyName, type LogSource, logSourceOf, lsnText, placeOf } from './log.ts';

const detailSchema = z.object({ detail: z.object({ history: z.string() }) });

/** By file name, of one system. `ownOf` has what the base backup brought of a timeline; '' where it brought none. */
export function historiesOf(
  lineages: readonly Lineage[],
  system: string,
  ownOf: (name: string) => string,
): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  const textOf = (lineage: Lineage, source: LogSource): string => {
    const name = historyName(source.timeline);
    const known = texts.get(name) ?? ownOf(name);
    if (known !== '') return known;
    const stored = detailSchema.safeParse(lineage).data;
    if (stored) return stored.detail.history;
    const { parent } = lineage;
    const before = lineages.find(({ id }) => id === parent?.lineage);
    const from = before && logSourceOf(before.source);
    if (!parent || !before || !from || from.system !== system) return '';
    const earlier = textOf(before, from);
    if (from.timeline === source.timeline) return earlier;
    const line = `${from.timeline}\t${lsnText(placeOf(parent.position))}\tas the journal has it\n`;
    return earlier + line;
  };
  for (const lineage of lineages) {
    const source = logSourceOf(lineage.source);
    if (source?.system !== system || source.timeline === 1) continue;
    texts.set(historyName(source.timeline), textOf(lineage, source));
  }
  return texts;
}
