// Looks at all journals of a store: names always, ranges as far as is asked for. Each gap and each damage is told.

import { type ErrorCode, isFailure } from '../core/errors.ts';
import type { Context, Finding } from '../core/model.ts';
import { mapOrdered } from '../core/parallel.ts';
import type { CheckOptions } from '../core/storage.ts';
import { isDamage, loadLineage, prunedUpTo } from './journal-lineages.ts';
import { type Entry, type JournalVault, journalNames, lineageIds, nextLineageId } from './journal-names.ts';
import { openRange, type Whose } from './journal-ranges.ts';
import { type Step, stepsOf } from './journal-walk.ts';

const RANGES_AT_ONCE = 3;
const SHARES = 100;
/** Says nothing of the data. */
const OUT_OF_REACH: readonly ErrorCode[] = ['archived', 'denied', 'unreachable', 'timeout'];
const HINT =
  'no moment in there can be restored; those after it can from the next point: where there is none yet, run lifeboat backup';
const RANGES_TOLD = 100;

export async function* checkJournals(ctx: Context, vault: JournalVault, options: CheckOptions): AsyncIterable<Finding> {
  for await (const component of journalNames(ctx, vault)) {
    const lineages = await lineageIds(ctx, vault, component);
    let last: string | undefined;
    for (const lineage of lineages) {
      // They are numbered, and what was pruned leaves a note.
      const next = nextLineageId(last);
      if (lineage !== next) yield fail({ component, lineage: next }, 'is there', `nothing is, up to ${lineage}`);
      yield* checkLineage(ctx, vault, { component, lineage }, options);
      last = lineage;
    }
  }
}

async function* checkLineage(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  options: CheckOptions,
): AsyncIterable<Finding> {
  try {
    const known = await loadLineage(ctx, vault, whose);
    if (!known) return;
    for (const problem of known.problems) yield fail(whose, 'is described', problem.message);
    let ranges = 0;
    const look = (step: Step): Promise<Finding | null> => checkStep(ctx, vault, whose, step, options);
    for await (const finding of mapOrdered(stepsOf(ctx, vault, whose, known), RANGES_AT_ONCE, look)) {
      if (finding) yield finding;
      if (++ranges % RANGES_TOLD === 0)
        ctx.progress({ task: `journal of ${whose.component}`, phase: 'verify', items: ranges });
    }
  } catch (error) {
    yield found(whose, 'is described', error);
  }
}

async function checkStep(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  step: Step,
  options: CheckOptions,
): Promise<Finding | null> {
  const { entry } = step;
  if (!entry) return fail(whose, `is whole from ${step.from} to ${step.to}`, step.failure.message);
  const what = `is whole from ${entry.from} to ${entry.to}`;
  if (!entry.isGap && !isInShare(entry, options)) return null;
  try {
    const { gap, from, to } = await openRange(ctx, vault, whose, entry, step.previous);
    if (gap === null) return null;
    return { ...fail(whose, what, `a gap, from ${from.at} to ${to.at}: ${gap}`), journal: journalOf(whose, true) };
  } catch (error) {
    // Pruned since it was listed.
    if (isFailure(error, 'missing') && (await prunedUpTo(ctx, vault, whose)) >= entry.to) return null;
    return found(whose, what, error);
  }
}

function found(whose: Whose, what: string, error: unknown): Finding {
  if (isDamage(error)) return fail(whose, what, error.message);
  if (!isFailure(error) || !OUT_OF_REACH.includes(error.code)) throw error;
  return { check: checkOf(whose, what), verdict: 'unknown', detail: error.message, journal: journalOf(whose) };
}

function fail(whose: Whose, what: string, detail: string): Finding {
  return { check: checkOf(whose, what), verdict: 'fail', detail, hint: HINT, journal: journalOf(whose) };
}
function journalOf({ component }: Whose, noted = false): NonNullable<Finding['journal']> {
  return { component, noted };
}
function checkOf({ component, lineage }: Whose, what: string): string {
  return `the journal of ${component}, lineage ${lineage}, ${what}`;
}

/** Ranges are split by their hash into 100 shares; the check reads some of them, going round. */
function isInShare({ sha256 }: Entry, { readData, from = 0 }: CheckOptions): boolean {
  const share = Number.parseInt(sha256.slice(0, 8), 16) % SHARES;
  return (share - from + SHARES) % SHARES < readData * SHARES;
}
