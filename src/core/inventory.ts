// Inventories as parts: one JSON document a line, ordered by (kind, name), so that a million lines compare in one walk.

import assert from 'node:assert/strict';
import { batched, lineBatchesOf } from './bytes.ts';
import { Failure } from './errors.ts';
import type { Context, Finding, InventoryLine, InventoryReader, Part, Sink, Source } from './model.ts';

export const INVENTORY_PART = 'inventory.ndjson';

export function byKindAndName(a: InventoryLine, b: InventoryLine): number {
  return compareText(a.kind, b.kind) || compareText(a.name, b.name);
}

export async function putInventory(
  ctx: Context,
  sink: Sink,
  lines: AsyncIterable<InventoryLine> | Iterable<InventoryLine>,
): Promise<Part> {
  return await sink.put(ctx, INVENTORY_PART, batched(rendered(lines)));
}

/** The inventory that a captured component carries. */
export function inventoryOf(source: Source): InventoryReader {
  return {
    async *lines(ctx) {
      for await (const lines of inventoryBatches(ctx, source)) yield* lines;
    },
  };
}

/** The same, as many lines at a time as came together: who looks at a million need not wait for each. */
export async function* inventoryBatches(ctx: Context, source: Source): AsyncIterable<Iterable<InventoryLine>> {
  const where = `${source.point}/${source.component}`;
  for await (const texts of lineBatchesOf(source.get(ctx, INVENTORY_PART))) yield parseLines(texts, where);
}

export function inventoryFrom(lines: readonly InventoryLine[]): InventoryReader {
  const sorted = lines.toSorted(byKindAndName);
  return {
    async *lines() {
      yield* sorted;
    },
  };
}

/** Only the lines that `has` says are meant. */
export function inventoryWith(inventory: InventoryReader, has: (line: InventoryLine) => boolean): InventoryReader {
  return {
    async *lines(ctx) {
      for await (const line of inventory.lines(ctx)) if (has(line)) yield line;
    },
  };
}

/** Two lines of one (kind, name); one of them is absent where only the other inventory has it. */
export interface LinePair {
  readonly expected: InventoryLine | undefined;
  readonly actual: InventoryLine | undefined;
}

/** Walks two inventories side by side. */
export async function* paired(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<LinePair> {
  const left = expected.lines(ctx)[Symbol.asyncIterator]();
  const right = actual.lines(ctx)[Symbol.asyncIterator]();
  let [a, b] = await Promise.all([left.next(), right.next()]);
  while (!a.done || !b.done) {
    const order = a.done ? 1 : b.done ? -1 : byKindAndName(a.value, b.value);
    yield { expected: a.done || order > 0 ? undefined : a.value, actual: b.done || order < 0 ? undefined : b.value };
    [a, b] = [order <= 0 ? await left.next() : a, order >= 0 ? await right.next() : b];
  }
}

/** The usual verdict on a pair: counts and digests agree; what was not digested is unknown, never a pass. */
export function judge({ expected, actual }: LinePair, what: string): Finding {
  const check = `${what} is the same`;
  if (!expected) return { check, verdict: 'fail', detail: `it is there now and was not at the cut` };
  if (!actual) return { check, verdict: 'fail', detail: 'it was there at the cut and is missing now' };
  if (expected.count !== null && actual.count !== null && expected.count !== actual.count) {
    return { check, verdict: 'fail', detail: `${expected.count} at the cut, ${actual.count} now` };
  }
  if (expected.digest === null || actual.digest === null) {
    const counted = expected.count !== null && actual.count !== null;
    return { check, verdict: 'unknown', detail: counted ? 'counted, not digested' : 'neither counted nor digested' };
  }
  if (expected.digest !== actual.digest) return { check, verdict: 'fail', detail: 'the digests differ' };
  return {
    check,
    verdict: 'pass',
    detail: expected.count === null ? 'equal digest' : `${expected.count}, equal digest`,
  };
}

async function* rendered(lines: AsyncIterable<InventoryLine> | Iterable<InventoryLine>): AsyncIterable<string> {
  let before: InventoryLine | undefined;
  for await (const line of lines) {
    assert(
      before === undefined || byKindAndName(before, line) < 0,
      `inventory line ${line.kind} ${line.name} is in order`,
    );
    before = line;
    yield inventoryText(line);
  }
}

/** A line of the part, with its end. */
export function inventoryText({ kind, name, count, digest, detail }: InventoryLine): string {
  return `${JSON.stringify({ kind, name, count, digest, detail })}\n`;
}

function* parseLines(texts: readonly string[], where: string): Iterable<InventoryLine> {
  const what = `the inventory of ${where}`;
  for (const text of texts) if (text !== '') yield shapedLine(text, (value) => (isLine(value) ? value : null), what);
}

/**
 * One of the lines of `what`; `shape` gives null for a value that is none. By hand: there are millions of them, and a
 * schema takes as long as all the rest.
 */
export function shapedLine<T>(text: string, shape: (value: unknown) => T | null, what: string): T {
  const malformed = `${what} has a line that is none`;
  let line: T | null;
  try {
    line = shape(JSON.parse(text));
  } catch (cause) {
    throw new Failure('malformed', malformed, { cause });
  }
  if (line !== null) return line;
  throw new Failure('malformed', malformed);
}

function isLine(value: unknown): value is InventoryLine {
  const { kind, name, count, digest }: Partial<Record<keyof InventoryLine, unknown>> =
    typeof value === 'object' && value !== null ? value : {};
  return (
    typeof kind === 'string' &&
    typeof name === 'string' &&
    (count === null || Number.isFinite(count)) &&
    (digest === null || typeof digest === 'string')
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
