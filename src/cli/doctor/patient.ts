// What was examined, and how it is told.

import { isFailure, messageOf } from '../../core/errors.ts';
import type { Finding } from '../../core/model.ts';
import { table } from '../terminal.ts';

export interface Patient {
  readonly kind: 'component' | 'store' | 'machine';
  readonly name: string;
  readonly summary: string;
  readonly findings: readonly Finding[];
}

/** A clock further off than this makes times of cuts and points disagree. */
const CLOCK_SKEW_MS_MAX = 5_000;

/** `skewMs` is their clock minus ours, null when they do not tell. */
export function clockFinding(skewMs: number | null): Finding {
  const check = 'its clock agrees with ours';
  if (skewMs === null) return { check, verdict: 'unknown', detail: 'it does not tell the time' };
  const detail = `${Math.abs(skewMs)} ms ${skewMs < 0 ? 'behind' : 'ahead'}`;
  const right = Math.abs(skewMs) <= CLOCK_SKEW_MS_MAX;
  return { check, verdict: right ? 'pass' : 'fail', detail, ...(right ? {} : { hint: 'set both clocks by NTP' }) };
}

export function failed(check: string, error: unknown): Finding {
  const hint = isFailure(error) ? error.hint : undefined;
  return { check, verdict: 'fail', detail: messageOf(error), ...(hint === undefined ? {} : { hint }) };
}

export function patientText({ kind, name, summary, findings }: Patient): string {
  const rows = findings.map(({ check, verdict, detail, hint }) => [
    `  ${verdict}`,
    check,
    detail.split('\n').join(' '),
    hint ? `→ ${hint}` : '',
  ]);
  const body = table(
    ['', '', '', ''].map((title) => ({ title })),
    rows,
  );
  return `${kind} ${name}: ${summary}\n${body.replace(/^.*\n/, '')}`;
}
