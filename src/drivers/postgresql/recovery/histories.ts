// The history files of timelines: where each one went on from another. A server needs those of the timelines that it
// goes through, and must see those of all others, so that it gives its own new timeline a number that nobody has.

import type { Lineage } from '../../../core/journal.ts';
import { historyName } from '../wal/files.ts';
import { historyIn } from '../wal/history.ts';
import { lsnAt, placeOf, sourceIn, type WalSource } from '../wal/positions.ts';

/** By file name, of one system. `ownOf` has what the base backup brought of a timeline; '' where it brought none. */
export function historiesOf(
  lineages: readonly Lineage[],
  system: string,
  ownOf: (name: string) => string,
): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  const textOf = (lineage: Lineage, source: WalSource): string => {
    const name = historyName(source.timeline);
    const known = texts.get(name) ?? ownOf(name);
    if (known !== '') return known;
    const stored = historyIn(lineage.detail);
    if (stored !== null) return stored;
    const { parent } = lineage;
    const before = lineages.find(({ id }) => id === parent?.lineage);
    const from = before && sourceIn(before.source);
    if (!parent || !before || !from || from.system !== system) return '';
    const earlier = textOf(before, from);
    if (from.timeline === source.timeline) return earlier;
    const line = `${from.timeline}\t${lsnAt(placeOf(parent.position))}\tas the journal has it\n`;
    return earlier + line;
  };
  for (const lineage of lineages) {
    const source = sourceIn(lineage.source);
    if (source?.system !== system || source.timeline === 1) continue;
    texts.set(historyName(source.timeline), textOf(lineage, source));
  }
  return texts;
}
