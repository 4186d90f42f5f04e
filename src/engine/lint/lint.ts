// What a configuration promises and can't keep, told before anything happens. docs/lint.md has each rule, with the
// mistake that it was made for.

import { malformedRule, unclearAlerts, unknownMetric } from './alerts.ts';
import { capturedTwice, noTier, notCaptured, snapshotOnly, unusedTier } from './coverage.ts';
import { drillAge, drillApart, drillOnlyHere, drillWithoutPoints, noDrill, offGrid } from './drills.ts';
import {
  cannotFollow,
  cannotMark,
  followWithoutBase,
  markersCoarse,
  markersUnfollowed,
  markersUnread,
} from './following.ts';
import { rpo, rpoElsewhere, rto, rtoOrder } from './objectives.ts';
import { clearSecret, onlyHere, sameFailure, unencrypted } from './places.ts';
import { referencesApart, referencesUnordered } from './references.ts';
import { keepBeyondDrills, keepMismatch, keepsOne } from './retention.ts';
import { eitherDay, notCron } from './schedules.ts';
import type { Found, Path, Rule, Setup } from './setup.ts';
import { isHidden } from './where.ts';

/** By the words that name them for ever: scripts leave some of them out. */
const RULES = {
  'not-captured': notCaptured,
  rpo,
  'rpo-elsewhere': rpoElsewhere,
  'follow-without-base': followWithoutBase,
  'cannot-follow': cannotFollow,
  'cannot-mark': cannotMark,
  'markers-unfollowed': markersUnfollowed,
  'markers-coarse': markersCoarse,
  'markers-unread': markersUnread,
  rto,
  'rto-order': rtoOrder,
  'same-failure': sameFailure,
  'only-here': onlyHere,
  'no-drill': noDrill,
  'drill-without-points': drillWithoutPoints,
  'drill-apart': drillApart,
  'drill-age': drillAge,
  'drill-only-here': drillOnlyHere,
  'off-grid': offGrid,
  'keeps-one': keepsOne,
  'keep-mismatch': keepMismatch,
  'keep-beyond-drills': keepBeyondDrills,
  'either-day': eitherDay,
  'not-cron': notCron,
  'references-apart': referencesApart,
  'references-unordered': referencesUnordered,
  'unknown-metric': unknownMetric,
  'malformed-rule': malformedRule,
  'captured-twice': capturedTwice,
  'snapshot-only': snapshotOnly,
  unencrypted,
  'clear-secret': clearSecret,
  'no-tier': noTier,
  'unused-tier': unusedTier,
} as const satisfies Readonly<Record<string, Rule>>;

type RuleWord = keyof typeof RULES;
export const RULE_WORDS: readonly string[] = Object.keys(RULES);

export interface LintFinding extends Found {
  readonly rule: RuleWord;
}
/** What a rule could not judge, and what would let it. */
export interface Unjudged {
  readonly rule: RuleWord;
  readonly at: Path;
  readonly why: string;
}
export interface Linted {
  readonly findings: readonly LintFinding[];
  readonly unjudged: readonly Unjudged[];
}

/** In order of the rules, those in `except` left out. */
export function lint(setup: Setup, except: readonly string[] = []): Linted {
  const rules = Object.entries(RULES) as readonly (readonly [RuleWord, Rule])[];
  const wanted = rules.filter(([word]) => !except.includes(word));
  return {
    findings: wanted.flatMap(([rule, find]) => [...find(setup)].map((found) => ({ rule, ...found }))),
    unjudged: [...unjudged(setup)].filter(({ rule }) => !except.includes(rule)),
  };
}

function* unjudged(setup: Setup): Generator<Unjudged> {
  for (const component of setup.components) {
    const at = ['components', component.name];
    if (isHidden(component)) yield { rule: 'same-failure', at, why: 'only a reference says where it is' };
    const { rtoMs = null } = setup.tiers.find(({ name }) => name === component.tier) ?? {};
    const recoverMs = setup.measured.get(component.name)?.recoverMs ?? null;
    if (rtoMs === null || recoverMs !== null) continue;
    yield { rule: 'rto', at, why: 'no drill that a store on this machine knows of has measured its recovery' };
  }
  for (const { name, why } of unclearAlerts(setup)) yield { rule: 'unknown-metric', at: ['alerts', name], why };
}
