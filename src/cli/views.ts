// How recovery points look to people, in one place.

import type { CapturedComponent, RecoveryPoint } from '../core/model.ts';
import { bytesText, countText, durationText, table } from './terminal.ts';

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
