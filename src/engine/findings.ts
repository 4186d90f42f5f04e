// Findings counted and held within limits: ten thousand equal tables need no ten thousand lines of evidence.

import type { Finding, Verdict } from '../core/model.ts';
import { worst } from '../core/verdict.ts';

const PASSES_KEPT = 100;
const OTHERS_KEPT = 1000;
const VERDICTS: readonly Verdict[] = ['pass', 'unknown', 'fail'];

export interface Tally {
  readonly pass: number;
  readonly unknown: number;
  readonly fail: number;
}

export interface Findings {
  readonly verdict: Verdict;
  readonly tally: Tally;
  /** The first ones; those that did not pass come first. */
  readonly kept: readonly Finding[];
  readonly omitted: number;
  /** One of them did not read all that it is about. */
  readonly unread: boolean;
  /** How many are unknown only because there was nothing to compare with. */
  readonly uncompared: number;
}

export interface FindingsBook {
  add(finding: Finding): void;
  /** What another book sums up, after what this one has. */
  addAll(findings: Findings): void;
  sum(): Findings;
}

export function findingsBook(): FindingsBook {
  const tally: Record<Verdict, number> = { pass: 0, unknown: 0, fail: 0 };
  const [passes, unknowns, fails]: [Finding[], Finding[], Finding[]] = [[], [], []];
  let [unread, uncompared] = [false, 0];
  function keep(finding: Finding): void {
    const [list, most] =
      finding.verdict === 'pass' ? [passes, PASSES_KEPT] : [finding.verdict === 'fail' ? fails : unknowns, OTHERS_KEPT];
    if (list.length < most) list.push(finding);
  }
  return {
    add(finding) {
      tally[finding.verdict] += 1;
      unread ||= finding.unread ?? false;
      if (finding.uncompared) uncompared += 1;
      keep(finding);
    },
    addAll(findings) {
      for (const verdict of VERDICTS) tally[verdict] += findings.tally[verdict];
      unread ||= findings.unread;
      uncompared += findings.uncompared;
      for (const finding of findings.kept) keep(finding);
    },
    sum() {
      const kept = [...fails, ...unknowns, ...passes];
      const seen = VERDICTS.filter((verdict) => tally[verdict] > 0);
      return {
        verdict: worst(seen),
        tally: { ...tally },
        kept,
        omitted: tally.pass + tally.unknown + tally.fail - kept.length,
        unread,
        uncompared,
      };
    },
  };
}
