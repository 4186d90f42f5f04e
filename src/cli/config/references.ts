import { realpathSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { type Failure, messageOf } from '../../core/errors.ts';
import { nearest } from '../../core/settings.ts';
import { parseSchedule } from '../slots.ts';
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
  checkCircles(config, problem);
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

function checkCircles(config: Config, problem: Problem): void {
  const after = new Map(config.components.map(({ name, common }) => [name, common.restore_after]));
  const visit = (name: string, trail: readonly string[]): void => {
    if (trail.includes(name)) {
      throw problem(['components', name, 'restore_after'], `a circle: ${[...trail, name].join(' after ')}`);
    }
    for (const next of after.get(name) ?? []) visit(next, [...trail, name]);
  };
  for (const name of after.keys()) visit(name, []);
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
