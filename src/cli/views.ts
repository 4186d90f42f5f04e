// How recovery points look to people, in one place.

import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import type { Findings } from '../engine/findings.ts';
import { bytesText, durationText, plural, table } from './terminal.ts';

/** A person reads the first ones. */
const FINDINGS_SHOWN = 20;

/** One line for each component: what it is, what it held, how large, how long. */
export function componentTable(point: RecoveryPoint): string {
  const rows = Object.entries(point.components).map(([name, each]) =>
    each.error
      ? [name, each.kind, `FAILED: ${each.error.message.split('\n')[0]}`, '', '']
      : [name, kindText(each), totalsText(each), bytesText(each.parts.bytes), durationText(each.durationMs)],
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

/** '1 database, 12 tables, 350 500 rows' */
function totalsText({ totals }: CapturedComponent): string {
  return Object.entries(totals)
    .filter(([, count]) => count > 0)
    .map(([what, count]) => {
      const words = what.replaceAll('_', ' ');
      return what === 'bytes' ? bytesText(count) : plural(count, count === 1 ? singular(words) : words, words);
    })
    .join(', ');
}

function singular(words: string): string {
  return words
    .replace(/indices$/, 'index')
    .replace(/ies$/, 'y')
    .replace(/(?<=[a-z])s$/, '');
}

export function pointBytes(point: RecoveryPoint): number {
  return Object.values(point.components).reduce((sum, { parts }) => sum + parts.bytes, 0);
}

/** What did not pass, with the next step where there is one. */
export function findingLines({ kept, omitted }: Findings): string[] {
  const notable = kept.filter(({ verdict }) => verdict !== 'pass');
  const lines = notable.slice(0, FINDINGS_SHOWN).map(({ verdict, check, detail, hint }) => {
    return `${verdict}: ${setIn(`${check}: ${detail}`)}${hint ? `\n  ${hint}` : ''}`;
  });
  const left = notable.length - lines.length + omitted;
  return left > 0 ? [...lines, `… and ${left} more: --json shows them`] : lines;
}

/** Of text from outside, such as names: a line that it brings along is not taken for one of ours. */
export function setIn(text: string): string {
  return text.replaceAll('\n', '\n    ');
}

/** 'postgresql 17.10', 'valkey 9.1.2'. */
export function kindText({ kind, serverVersion }: Pick<CapturedComponent, 'kind' | 'serverVersion'>): string {
  return serverVersion !== null && /^[A-Za-z]/.test(serverVersion) ? serverVersion : `${kind} ${serverVersion ?? ''}`;
}
