// Mistakes in alerts: for the tests of lint.

import type { LintCase } from './linting-testing.ts';

const EMITTED = [['tiers:\n', 'alerts: { rules: [alerts.yml], emitted: [here, "node_*"] }\ntiers:\n']] as const;
const AT = 'alerts.rules';

export const ALERTS_CASES: readonly LintCase[] = [
  {
    title: 'an alert that waits for what no script emits',
    rule: 'unknown-metric',
    replace: EMITTED,
    alerts: ['{ alert: TooOld, expr: (time() - last_backup) > 86400 * 2 }'],
    at: AT,
    why: /^alert TooOld is about last_backup, which nobody is known to emit: it can never fire$/,
    change: [],
  },
  {
    title: 'an alert on the absence of what is always absent',
    rule: 'unknown-metric',
    replace: EMITTED,
    alerts: ['{ alert: Gone, expr: absent(last_backup) }'],
    at: AT,
    why: /: it fires for ever$/,
    change: [],
  },
  {
    title: 'an alert that would be quiet while something else goes on',
    rule: 'unknown-metric',
    replace: EMITTED,
    alerts: ['{ alert: Busy, expr: here > 5 unless restore_running }'],
    at: AT,
    why: /about restore_running, which nobody .*: it fires, or not, as if that part of it were not there$/,
    change: [],
  },
  {
    title: 'an expression that Prometheus does not take',
    rule: 'malformed-rule',
    replace: EMITTED,
    alerts: ['{ alert: Broken, expr: "sum(here) >" }'],
    at: AT,
    why: /^the expression of Broken is no PromQL \(something is missing at its end\)/,
    change: [],
  },
];
