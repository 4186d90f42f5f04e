import { realpathSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { type Failure, messageOf } from '../../core/errors.ts';
import { nearest } from '../../core/settings.ts';
import { parseSchedule } from '../../engine/slots.ts';
import { CUT, isOfOne, parseUntil } from '../times.ts';
import type { Config } from './model.ts';
import { keepSchema } from './schema.ts';

type Problem = (path: readonly (string | number)[], message: string, hint?: string) => Failure;

/** Names that point nowhere, circles, and stores that lie in one another. */
export function checkReferences(config: Config, problem: Problem): void {
  const stores = config.stores.map(({ name }) => name);
  const components = config.components.map(({ name }) => name);
  const known = (path: readonly (string | number)[], word: string, names: readonly string[], what: string): void => {
    if (names.includes(word)) return;
    const near = nearest(word, names);
    throw problem(path, `there is no ${what} ${word}`, near ? `did you mean ${near}?` : undefined);
  };
  if (stores.length === 0) throw problem(['stores'], 'at least one store is needed');
  if (components.length === 0) throw problem(['components'], 'at least one component is needed');
  for (const { name, common } of config.components) {
    if (common.tier !== undefined) known(['components', name, 'tier'], common.tier, Object.keys(config.tiers), 'tier');
    for (const other of common.restore_after) {
      known(['components', name, 'restore_after'], other, components, 'component');
    }
  }
  for (const [name, plan] of Object.entries(config.plans)) {
    for (const each of plan.components === 'all' ? [] : plan.components) {
      known(['plans', name, 'components'], each, components, 'component');
    }
    for (const each of plan.to ?? []) known(['plans', name, 'to'], each, stores, 'store');
    for (const each of perStoreKeep(plan.keep)) known(['plans', name, 'keep'], each, stores, 'store');
  }
  for (const [name, drill] of Object.entries(config.drills)) {
    for (const each of drill.components === 'all' ? [] : drill.components) {
      known(['drills', name, 'components'], each, components, 'component');
    }
    if (drill.store !== undefined) known(['drills', name, 'store'], drill.store, stores, 'store');
  }
  for (const [at, { from, to }] of config.references.entries()) {
    for (const [end, { component }] of Object.entries({ from, to })) {
      known(['references', at, end, 'component'], component, components, 'component');
    }
  }
  checkSchedules(config, problem);
  checkReplays(config, problem);
  checkCircles(config, problem);
  checkOrderings(config, problem);
  checkNesting(config, problem);
}

const KEEP_FIELDS: readonly string[] = Object.keys(keepSchema.shape);

/** The store names of a `keep` that has one rule for each store; none when it is one rule for all. */
export function perStoreKeep(keep: Config['plans'][string]['keep']): readonly string[] {
  const keys = Object.keys(keep ?? {});
  return keys.some((key) => KEEP_FIELDS.includes(key)) ? [] : keys;
}

function checkSchedules(config: Config, problem: Problem): void {
  for (const part of ['plans', 'drills'] as const) {
    for (const [name, { schedule, timezone }] of Object.entries(config[part])) {
      try {
        parseSchedule(schedule ?? '0 0 * * *', timezone);
      } catch (error) {
        throw problem([part, name, schedule === undefined ? 'timezone' : 'schedule'], messageOf(error));
      }
    }
  }
}

/** What would be refused each time that the drill is run. */
function checkReplays({ drills, components: all }: Config, problem: Problem): void {
  for (const [name, { until, point = 'latest', components }] of Object.entries(drills)) {
    if (until === undefined) continue;
    if (CUT.test(until)) {
      if (point === 'latest') continue;
      throw problem(['drills', name, 'point'], `until: ${until} finds its point by itself`, 'leave point out');
    }
    if (!isOfOne(parseUntil(until)) || (components === 'all' ? all : components).length === 1) continue;
    throw problem(['drills', name, 'until'], `${until} is in the words of one component`, 'name it under components');
  }
}

function checkCircles(config: Config, problem: Problem): void {
  const circle = circleIn(new Map(config.components.map(({ name, common }) => [name, common.restore_after])));
  const [first = ''] = circle ?? [];
  if (circle) throw problem(['components', first, 'restore_after'], `a circle: ${circle.join(' after ')}`);
}

/** What points to one another can't be captured one after the other. */
function checkOrderings({ plans, references }: Config, problem: Problem): void {
  for (const [name, { ordering, components }] of Object.entries(plans)) {
    if (ordering !== 'references_first') continue;
    const points = new Map<string, string[]>();
    for (const { from, to } of references) {
      const ours = [from, to].every((end) => components === 'all' || components.includes(end.component));
      if (!ours || from.component === to.component) continue;
      points.set(from.component, [...(points.get(from.component) ?? []), to.component]);
    }
    const circle = circleIn(points);
    if (!circle) continue;
    const hint = 'capture them in parallel, or leave one of these references out';
    throw problem(['plans', name, 'ordering'], `references go in a circle: ${circle.join(' points to ')}`, hint);
  }
}

/** The first circle that is found, its first member again at its end; null when there is none. */
function circleIn(edges: ReadonlyMap<string, readonly string[]>): readonly string[] | null {
  const done = new Set<string>();
  const visit = (name: string, trail: readonly string[]): readonly string[] | null => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name];
    if (done.has(name)) return null;
    for (const next of edges.get(name) ?? []) {
      const circle = visit(next, [...trail, name]);
      if (circle) return circle;
    }
    done.add(name);
    return null;
  };
  for (const name of edges.keys()) {
    const circle = visit(name, []);
    if (circle) return circle;
  }
  return null;
}

/** A store in another one's folder would be pruned as rubbish, or listed as its points. */
function checkNesting(config: Config, problem: Problem): void {
  for (const inner of config.stores) {
    for (const outer of config.stores) {
      if (inner === outer || !within(outer.url, inner.url)) continue;
      const same = normal(inner.url) === normal(outer.url);
      const how = same ? `is the same place as store ${outer.name}` : `lies within store ${outer.name}`;
      throw problem(['stores', inner.name, 'bucket'], `${inner.url} ${how}`, 'give each store a folder of its own');
    }
  }
}

function within(outer: string, inner: string): boolean {
  const [a, b] = [normal(outer), normal(inner)];
  if (a.startsWith('s3://') !== b.startsWith('s3://')) return false;
  if (a.startsWith('s3://')) return `${b}/`.startsWith(`${a}/`);
  return !relative(a, b).startsWith('..');
}

function normal(url: string): string {
  return url.startsWith('s3://') ? url.replace(/\/+$/, '') : real(resolve(url));
}

/** Through symbolic links, as far as it is there already and may be looked at. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path === dirname(path) ? path : join(real(dirname(path)), basename(path));
  }
}
