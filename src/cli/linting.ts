// What lint reads: the configuration with its names resolved, and how long things took, of stores on this machine.

import { withDeadline } from '../core/context.ts';
import { messageOf } from '../core/errors.ts';
import { isLocalDisk } from '../core/local-disk.ts';
import type { Context } from '../core/model.ts';
import { estimator } from '../engine/estimate.ts';
import type { KeepRules } from '../engine/keep.ts';
import { gapsFrom } from '../engine/lint/gaps.ts';
import type { Measured, PlanSetup, Setup } from '../engine/lint/setup.ts';
import { heldIn, SAFETY_PLAN } from '../engine/model.ts';
import { byBeginning, listPoints } from '../engine/points.ts';
import type { Config, StoreConfig } from './config/model.ts';
import { perStoreKeep } from './config/references.ts';
import { isNearby, openStore } from './stack.ts';

/** What is measured is a help: nobody waits long for it. */
const STORE_MS_MAX = 15_000;
const NO_ALERTS: Setup['alerts'] = { emitted: [], rules: [] };

export function setupOf(
  config: Config,
  now: Date,
  measured: Setup['measured'],
  alerts: Setup['alerts'] = NO_ALERTS,
): Setup {
  const { components, stores, tiers, plans, drills, references } = config;
  const all = components.map(({ name }) => name);
  return {
    now,
    gap: gapsFrom(now),
    measured,
    alerts,
    components: components.map(({ name, common, written }) => {
      return { name, kind: common.kind, tier: common.tier ?? null, restoreAfter: common.restore_after, written };
    }),
    stores: stores.map(({ name, formatName, url, written }) => ({ name, format: formatName, url, written })),
    tiers: Object.entries(tiers).map(([name, { rto, rpo }]) => ({ name, rtoMs: rto ?? null, rpoMs: rpo ?? null })),
    plans: Object.entries(plans).map(([name, plan]) => planOf(config, name, plan)),
    drills: Object.entries(drills).map(
      ([
        name,
        { schedule = null, store = null, point = 'latest', at = null, until = null, components: own, ...drill },
      ]) => {
        const about = { components: own === 'all' ? all : own, ofAll: own === 'all' };
        return { ...drill, ...about, name, point, at, until, schedule, store };
      },
    ),
    references: references.map(({ name, from, to }) => ({ name, from: from.component, to: to.component })),
  };
}

function planOf({ components, stores }: Config, name: string, plan: Config['plans'][string]): PlanSetup {
  const { schedule = null, timezone, to, keep = {} } = plan;
  const places = to ?? stores.map((store) => store.name);
  const apart = perStoreKeep(keep);
  const rules: Readonly<Record<string, unknown>> = keep;
  const keepsApart = apart.length > 0;
  const kept = keepsApart ? apart : Object.keys(keep).length > 0 ? places : [];
  return {
    name,
    schedule,
    timezone,
    components: plan.components === 'all' ? components.map((each) => each.name) : plan.components,
    to: places,
    keep: new Map(kept.map((store) => [store, (keepsApart ? rules[store] : keep) as KeepRules])),
    keepsApart,
    inOrder: plan.ordering === 'references_first',
    written: { hooks: plan.hooks },
  };
}

/** What reads them is loaded only where there are some. */
export async function alertsOf(config: Config): Promise<Setup['alerts']> {
  if (config.alerts === undefined) return NO_ALERTS;
  const { readAlerts } = await import('./alert-rules.ts');
  return await readAlerts(config);
}

export interface Looked {
  readonly measured: Setup['measured'];
  /** The stores that were asked, with why one could not be read. */
  readonly stores: readonly { readonly name: string; readonly error: string | null }[];
}

/** Nothing is asked for that lies elsewhere, be it a store or the secret that opens one. */
export async function lookHere(ctx: Context, config: Config): Promise<Looked> {
  const measured = new Map<string, Measured>();
  const stores: { name: string; error: string | null }[] = [];
  for (const store of config.stores) {
    if (!isNearby(store) || !(await isLocalDisk(store.url))) continue;
    try {
      const found = await withDeadline(ctx, STORE_MS_MAX, `reading store ${store.name}`, (within) =>
        measuredIn(within, store, config.stack),
      );
      for (const [name, each] of found) if (!measured.get(name)?.recoverMs) measured.set(name, each);
      stores.push({ name: store.name, error: null });
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      stores.push({ name: store.name, error: messageOf(error) });
    }
  }
  return { measured, stores };
}

async function measuredIn(ctx: Context, config: StoreConfig, stack: string): Promise<ReadonlyMap<string, Measured>> {
  await using store = await openStore(ctx, config);
  const [views, estimate] = await Promise.all([listPoints(ctx, store), estimator(ctx, store.store)]);
  const found = new Map<string, Measured>();
  for (const { point } of views.toSorted((a, b) => byBeginning(a.point, b.point))) {
    if (point.stack !== stack || point.plan === SAFETY_PLAN) continue;
    for (const name of Object.keys(point.components)) {
      const captured = heldIn(point, name);
      if (!captured) continue;
      const recovery = estimate(name, captured);
      const recoverMs = recovery?.from === 'drill' ? recovery.ms : null;
      found.set(name, { captureMs: captured.durationMs, recoverMs });
    }
  }
  return found;
}
