// What equal means: the same documents under the same ids and routings, the same mappings, settings and aliases, and
// the same templates, pipelines and policies.

import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryReader } from '../../core/model.ts';

const WORDS: Readonly<Record<string, string>> = {
  mapping: 'the mapping of',
  settings: 'the settings of',
  'data-stream': 'data stream',
  'index-template': 'index template',
  'component-template': 'component template',
};

export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  for await (const pair of paired(ctx, expected, actual)) yield judged(pair);
}

function judged(pair: LinePair): Finding {
  const { kind = '', name = '' } = pair.expected ?? pair.actual ?? {};
  const found = judge(pair, `${WORDS[kind] ?? kind} ${name}`);
  const state = stateOf(pair.expected?.detail);
  if (kind !== 'index' || state === null) return found;
  return {
    ...found,
    verdict: 'unknown',
    detail: `it was ${state} when it was captured, so that nothing can be compared`,
  };
}

/** Of an index that could not be read; null of one that could. */
export function stateOf(detail: unknown): string | null {
  const { state } = typeof detail === 'object' && detail !== null ? (detail as { state?: unknown }) : {};
  return typeof state === 'string' ? state : null;
}
