// Do the components of a stack still fit together? Values of one must exist as names in another: order rows and the
// invoices that they point to. What points to nothing is missing; what nothing points to is an orphan.

import { hash } from 'node:crypto';
import type { Component } from '../core/component.ts';
import { messageOf } from '../core/errors.ts';
import type { Context, Finding } from '../core/model.ts';
import type { FindingsBook } from './findings.ts';
import type { Reference } from './model.ts';

/** Values that are asked about at a time. */
const BATCH = 1_000;
/** Examples of what is wrong. */
const EXAMPLES = 5;
/** Of each value 8 bytes are held to find orphans, so that this is 160 MB; beyond it they are not counted. */
const VALUES_MAX = 20_000_000;
const PIECE = 2 ** 20;

/** Those that are to be looked at: who chose only some components has asked nothing of the others. */
export function among(
  references: readonly Reference[] | undefined = [],
  only: readonly string[] | undefined,
): readonly Reference[] {
  if (only === undefined) return references;
  return references.filter(({ from, to }) => only.includes(from.component) && only.includes(to.component));
}

/** One finding for what is missing, and one for orphans where those are bounded. What could not be asked is unknown. */
export async function checkReferences(
  ctx: Context,
  references: readonly Reference[],
  componentOf: (name: string) => Component | null,
  book: FindingsBook,
): Promise<void> {
  for (const reference of references) {
    const [from, to] = [componentOf(reference.from.component), componentOf(reference.to.component)];
    if (!from || !to) {
      const absent = from ? reference.to.component : reference.from.component;
      book.add({ check: titleOf(reference), verdict: 'unknown', detail: `${absent} did not come back` });
      continue;
    }
    try {
      for await (const finding of checkOne(ctx, reference, from, to)) book.add(finding);
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      book.add({ check: titleOf(reference), verdict: 'unknown', detail: messageOf(error) });
    }
  }
}

async function* checkOne(ctx: Context, reference: Reference, from: Component, to: Component): AsyncIterable<Finding> {
  const check = titleOf(reference);
  if (!from.values || !to.holds) {
    const which = from.values ? reference.to.component : reference.from.component;
    yield { check, verdict: 'unknown', detail: `${which} is of a kind that can not be asked` };
    return;
  }
  const orphans = reference.orphansMax === undefined ? null : valueSet();
  const values = from.values(ctx, reference.from.sql, reference.from.database);
  const missing = counted();
  let asked = 0;
  for await (const batch of batches(values)) {
    const held = await to.holds(ctx, reference.to.in, batch);
    for (const [at, value] of batch.entries()) {
      if (!held[at]) missing.add(value);
      orphans?.add(value);
    }
    asked += batch.length;
    ctx.progress({ task: reference.name, phase: 'references', items: asked });
  }
  yield judged(check, missing, reference.missingMax, { of: asked, what: 'missing' });
  if (orphans) yield await judgeOrphans(ctx, reference, to, orphans);
}

async function judgeOrphans(ctx: Context, reference: Reference, to: Component, set: ValueSet): Promise<Finding> {
  const check = `${titleOf(reference)}: nothing points to`;
  if (!to.names) {
    return { check, verdict: 'unknown', detail: `${reference.to.component} is of a kind that lists no names` };
  }
  const has = set.sealed();
  if (!has) return { check, verdict: 'unknown', detail: `over ${VALUES_MAX} values: orphans were not counted` };
  const orphans = counted();
  let seen = 0;
  for await (const name of to.names(ctx, reference.to.in)) {
    seen += 1;
    if (!has(name)) orphans.add(name);
  }
  return judged(check, orphans, reference.orphansMax ?? 0, { of: seen, what: 'orphans' });
}

interface Counted {
  add(value: string): void;
  readonly examples: readonly string[];
  count(): number;
}
function counted(): Counted {
  const examples: string[] = [];
  let count = 0;
  return {
    examples,
    add(value) {
      count += 1;
      if (examples.length < EXAMPLES) examples.push(value);
    },
    count: () => count,
  };
}

function judged(
  check: string,
  { examples, count }: Counted,
  max: number,
  { of, what }: { readonly of: number; readonly what: string },
): Finding {
  const found = count();
  const such = examples.length === 0 ? '' : `, such as ${examples.join(', ')}`;
  const allowed = max === 0 ? '' : `, ${max} allowed`;
  return { check, verdict: found <= max ? 'pass' : 'fail', detail: `${found} ${what} of ${of}${allowed}${such}` };
}

function titleOf({ name, from, to }: Reference): string {
  return `${name}: ${from.component} points to ${to.component} ${to.in}`;
}

interface ValueSet {
  add(value: string): void;
  /** Tells whether a value was added; null when there were too many to hold. */
  sealed(): ((value: string) => boolean) | null;
}

/** By the first 8 bytes of their SHA-256: among 10 million values one in 200 000 runs takes an orphan for none. */
function valueSet(): ValueSet {
  // In pieces, since one array that grows is there twice while it does.
  const pieces: BigUint64Array[] = [];
  let count = 0;
  return {
    add(value) {
      if (count > VALUES_MAX) return;
      const at = count++ % PIECE;
      if (at === 0) pieces.push(new BigUint64Array(PIECE));
      const last = pieces.at(-1);
      if (last) last[at] = numberOf(value);
    },
    sealed() {
      if (count > VALUES_MAX) return null;
      const sorted = pieces.map((piece, at) => piece.subarray(0, Math.min(PIECE, count - at * PIECE)).sort());
      return (value) => {
        const wanted = numberOf(value);
        return sorted.some((piece) => isIn(piece, wanted));
      };
    },
  };
}

function numberOf(value: string): bigint {
  return hash('sha256', value, 'buffer').readBigUInt64BE(0);
}

function isIn(sorted: BigUint64Array, wanted: bigint): boolean {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0n) < wanted) low = middle + 1;
    else high = middle;
  }
  return sorted[low] === wanted;
}

async function* batches(values: AsyncIterable<string>): AsyncIterable<readonly string[]> {
  let batch: string[] = [];
  for await (const value of values) {
    batch.push(value);
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
