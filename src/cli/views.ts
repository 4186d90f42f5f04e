// How recovery points look to people, in one place.

import type { CapturedComponent, RecoveryPoint } from '../core/model.ts';
import type { Findings } from '../engine/findings.ts';
import { bytesText, countText, durationText, table } from './terminal.ts';

/** A person reads the first ones. */
const FINDINGS_SHOWN = 20;

/** One line for each component: what it is, what it held, how large, how long. */
export function componentTable(point: RecoveryPoint): string {
  const rows = Object.entries(point.components).map(([name, each]) =>
    each.error
      ? [name, each.kind, `FAILED: ${each.error.message.split('\n')[0]}`, '', '']
      : [
          name,
          `${each.kind} ${each.serverVersion ?? ''}`,
          totalsText(each),
          bytesText(each.parts.bytes),
          durationText(each.durationMs),
        ],
  );
  return table(
    [
      { title: 'component' },
      { title: 'kind' },
      { title: 'holds' },
      { title: 'size', right: true },
      { title: 'took', right: true },
    ],
    rows,
  );
}

/** '1 databases, 12 tables, 350 500 rows' */
export function totalsText({ totals }: CapturedComponent): string {
  return Object.entries(totals)
    .map(([what, count]) => (what === 'bytes' ? bytesText(count) : `${countText(count)} ${what.replaceAll('_', ' ')}`))
    .join(', ');
}

export function pointBytes(point: RecoveryPoint): number {
  return Object.values(point.components).reduce((sum, { parts }) => sum + parts.bytes, 0);
}

/** What did not pass, with the next step where there is one. */
export function findingLines({ kept, omitted }: Findings): string[] {
  const notable = kept.filter(({ verdict }) => verdict !== 'pass');
  const lines = notable.slice(0, FINDINGS_SHOWN).map(({ verdict, check, detail, hint }) => {
    return `${verdict}: ${check}: ${detail}${hint ? `\n  ${hint}` : ''}`;
  });
  const left = notable.length - lines.length + omitted;
  return left > 0 ? [...lines, `… and ${left} more: --json shows them`] : lines;
}
