// Which buckets and keys of a point are meant, and where they go.

import { Failure } from '../../core/errors.ts';
import type { InventoryLine, RestoreOptions, Selected, Selection } from '../../core/model.ts';
import { matcher, refuseForeign } from '../../core/selection.ts';
import type { CapturedBucket } from './buckets.ts';
import type { Scope } from './settings.ts';

export interface Wanted {
  readonly captured: CapturedBucket;
  /** The bucket it goes to. */
  readonly target: string;
  /** Null: all of them. */
  readonly key: ((key: string) => boolean) | null;
  /** What all wanted keys begin with. */
  readonly prefix: string;
  readonly asOf: number | null;
}

export interface Choice {
  readonly wanted: readonly Wanted[];
  /** Buckets that would be replaced without anybody having seen what is in them, by name. */
  readonly leftOut: readonly string[];
}

/** `scopes`: what the settings name, which is what a preview shows and what a safety point holds; null: all of it. */
export function chosenOf(
  buckets: readonly CapturedBucket[],
  options: RestoreOptions,
  scopes: readonly Scope[] | null,
): Choice {
  const all = wantedOf(buckets, options);
  if (!options.replace) return { wanted: all, leftOut: [] };
  // Who gives another name names the bucket that is replaced.
  const wanted = all.filter((each) => each.target !== each.captured.name || isCovered(each.captured, scopes));
  const leftOut = all.filter((each) => !wanted.includes(each)).map(({ target }) => target);
  if (wanted.length === 0 && leftOut.length > 0) {
    throw new Failure('usage', `the settings do not name ${leftOut.join(', ')}: what is in there was not looked at`, {
      hint: 'name it under buckets, as it was captured, or restore it under another name (--rename)',
    });
  }
  return { wanted, leftOut };
}

/** Whether all that was captured of it is within what the settings name. */
export function isCovered({ name, prefix, exclude }: CapturedBucket, scopes: readonly Scope[] | null): boolean {
  if (scopes === null) return true;
  const scope = scopes.find(({ bucket }) => bucket === name);
  if (!scope?.bucket || !prefix.startsWith(scope.prefix)) return false;
  return scope.exclude.every(
    (left) => exclude.some((each) => left.startsWith(each)) || (!left.startsWith(prefix) && !prefix.startsWith(left)),
  );
}

/** Settings of a bucket come back with all of it, and are compared then. */
export function selectedOf(wanted: readonly Wanted[]): Selected {
  const byName = new Map(wanted.map((each) => [each.captured.name, each]));
  const has = ({ kind, name }: InventoryLine): boolean => {
    if (kind === 'facts') return true;
    const slash = name.indexOf('/');
    const of = byName.get(name.slice(0, slash));
    if (!of || kind === 'setting') return of?.key === null;
    const key = name.slice(slash + 1).replace(/\0\d{7}$/, '');
    return of.asOf === null && (of.key?.(key) ?? true);
  };
  const isOfTime = wanted.some(({ asOf }) => asOf !== null);
  return { has, uncompared: isOfTime ? 'objects as they were at a time: the point tells of those at its cut' : null };
}

function wantedOf(buckets: readonly CapturedBucket[], options: RestoreOptions): Wanted[] {
  const { rename = {}, select = {} } = options;
  const chosen = chosenBuckets(buckets, select);
  const stray = Object.keys(rename).find((name) => !chosen.some((bucket) => bucket.name === name));
  if (stray !== undefined) throw new Failure('usage', `there is no bucket ${stray} to be renamed: ${listOf(buckets)}`);
  const key = select.keys ? keyFilter(select.keys) : null;
  const asOf = select.asOf === undefined ? null : Date.parse(select.asOf);
  if (Number.isNaN(asOf)) throw new Failure('usage', `${select.asOf} is no time: write it as 2026-02-23T02:00:00Z`);
  const wanted = chosen.map((captured): Wanted => {
    if (asOf !== null && !captured.versions) {
      throw new Failure('usage', `the point does not hold the versions of bucket ${captured.name}, only one`, {
        hint: 'restore without as_of, or set versions: true for the points to come',
      });
    }
    const target = rename[captured.name] ?? captured.name;
    return { captured, target, key, prefix: commonPrefix(captured.prefix, select.keys), asOf };
  });
  const twice = wanted.find(({ target }, i) => wanted.findIndex((other) => other.target === target) !== i);
  if (twice) throw new Failure('usage', `two buckets would go to ${twice.target}`);
  return wanted;
}

function chosenBuckets(buckets: readonly CapturedBucket[], select: Selection): readonly CapturedBucket[] {
  refuseForeign('s3', select, ['buckets', 'keys', 'asOf'], 'choose by bucket=, keys= and as_of=');
  const { buckets: patterns } = select;
  if (!patterns) return buckets;
  const absent = patterns.find((pattern) => !buckets.some(({ name }) => keyFilter([pattern])(name)));
  if (absent !== undefined) throw new Failure('missing', `the point holds no bucket ${absent}: ${listOf(buckets)}`);
  const fits = keyFilter(patterns);
  return buckets.filter(({ name }) => fits(name));
}

/** '*' and '?' cross '/'; a pattern that ends in '/' means all that begins so. */
function keyFilter(patterns: readonly string[]): (key: string) => boolean {
  return matcher(patterns.map((pattern) => (pattern.endsWith('/') ? `${pattern}*` : pattern)));
}

function commonPrefix(scope: string, patterns: readonly string[] | undefined): string {
  if (patterns?.length !== 1) return scope;
  const [literal = ''] = (patterns[0] ?? '').split(/[*?]/);
  return literal.startsWith(scope) ? literal : scope;
}

function listOf(buckets: readonly CapturedBucket[]): string {
  return `it has ${buckets.map(({ name }) => name).join(', ') || 'none'}`;
}
