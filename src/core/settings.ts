// The vocabulary that settings are declared in. Each option is declared once, with zod, by its owner; the flag, the
// file key, the help, the JSON Schema and the reference page come from that declaration.

import { z } from 'zod';
import { Failure } from './errors.ts';

const DURATION_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const SIZE_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** What stands for a secret, or anything else that is known only where it is used: '${env:NAME}'. */
export const PLACEHOLDER = /\$\{([a-z-]+):([^}]*)\}/g;

/** '15m', '1h30m', '250ms' in milliseconds; null when it is none. */
export function parseDuration(text: string): number | null {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d|w))+$/.test(text)) return null;
  let ms = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g)) {
    ms += Number(amount) * (DURATION_MS[unit ?? ''] ?? Number.NaN);
  }
  return ms;
}

/** The same the other way: 900 000 is '15m'. Hours up to two days, as people promise them. */
export function formatDuration(ms: number): string {
  let [left, text] = [Math.max(0, Math.round(ms)), ''];
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const size = DURATION_MS[unit] ?? 1;
    if (unit === 'd' && left < 2 * size) continue;
    if (left >= size) text += `${Math.floor(left / size)}${unit}`;
    left %= size;
  }
  return text || '0s';
}

/** '500MiB', '2GB' in bytes; null when it is none. */
export function parseSize(text: string): number | null {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*([kKMGT]?i?B)?$/.exec(text) ?? [];
  const factor = SIZE_BYTES[unit ?? 'B'];
  return amount === undefined || factor === undefined ? null : Math.round(Number(amount) * factor);
}

/** A duration in milliseconds, written as '15m'. */
export const duration = z
  .string()
  .regex(/^(\d+(\.\d+)?(ms|s|m|h|d|w))+$/, "a duration such as '15m' or '1h30m'")
  .transform((text) => parseDuration(text) ?? Number.NaN);

/** A size in bytes, written as '500MiB' or as a plain number. */
export const size = z
  .union([
    z.string().regex(/^\d+(\.\d+)?\s*([kKMGT]?i?B)?$/, "a size such as '500MiB'"),
    z.number().int().nonnegative(),
  ])
  .transform((value) => (typeof value === 'number' ? value : (parseSize(value) ?? Number.NaN)));

/** Parses settings, or throws 'settings-invalid' that names `what` and each wrong field. Unknown keys are errors. */
export function parseSettings<S extends z.ZodType>(schema: S, settings: unknown, what: string): z.output<S> {
  const result = schema.safeParse(settings);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const path = issue.path.join('.');
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
  throw new Failure('settings-invalid', `${what}: ${problems.join('; ')}`, { cause: result.error });
}

/** The name in `known` that `word` was probably meant to be, or null when none is near. */
export function nearest(word: string, known: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Optimal string alignment: insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let [before, above] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    [before, above] = [above, row];
  }
  return above[b.length] ?? 0;
}
