import type { Command } from 'commander';
import type { Context, Verdict } from '../../core/model.ts';
import { kitFinding } from '../../engine/kit.ts';
import { heldBy, SAFETY_PLAN } from '../../engine/model.ts';
import { byBeginning } from '../../engine/points.ts';
import { type Everywhere, type Listing, listEverywhere, noteUnreadable, pointsOf, unreadableJson } from '../across.ts';
import type { Config } from '../config/model.ts';
import type { Bind } from '../session.ts';
import { openStack } from '../stack.ts';
import { bytesText, durationText, table } from '../terminal.ts';

interface ComponentStatus {
  readonly name: string;
  /** The newest point that holds it, but for those that a restore took of what it replaced. */
  readonly point: string | null;
  /** What would be lost if it were gone now. */
  readonly ageMs: number | null;
  readonly rpoMs: number | null;
  readonly provedAt: string | null;
  readonly stores: readonly string[];
  /** 'late' when its objective is broken now, 'unprotected' when no point holds it. */
  readonly state: 'protected' | 'late' | 'unprotected';
}

export function define(command: Command, bind: Bind): void {
  command.addHelpText('after', '\nExample: lifeboat status || notify-someone    (exit code 3: late or unprotected)');
  bind(command, async (session) => {
    const { ctx } = session;
    const config = await session.config();
    await using stack = await openStack(ctx, config, { components: [] });
    const listing = await listEverywhere(ctx, stack);
    const points = pointsOf(listing);
    const components = config.components.map(({ name }) => statusOf(ctx, config, points, name));
    const { stores, unreadable } = await storesOf(ctx, listing);
    const kitsOpen = stores.every(({ kit }) => kit === null || kit === 'pass');
    const well = components.every(({ state }) => state === 'protected') && unreadable.length === 0 && kitsOpen;
    session.print(
      {
        stack: config.stack,
        well,
        components: components.map(toJson),
        stores,
        ...unreadableJson(unreadable),
      },
      () =>
        [
          componentText(components),
          table(
            [
              { title: 'store' },
              { title: 'place' },
              { title: 'points', right: true },
              { title: 'stored', right: true },
              { title: 'recovery kit' },
            ],
            stores.map((each) => [
              each.name,
              each.url,
              String(each.points),
              bytesText(each.bytes),
              each.kit === null ? '' : KITS[each.kit],
            ]),
          ),
        ].join('\n\n'),
    );
    noteUnreadable(session, unreadable);
    return well ? 0 : 3;
  });
}

interface StoreStatus {
  readonly name: string;
  readonly url: string;
  readonly points: number;
  readonly bytes: number;
  /** Whether the recovery kit would open it; null where it needs none. */
  readonly kit: Verdict | null;
}

/** Of those that can be measured too; the others count as unreadable. */
async function storesOf(
  ctx: Context,
  listing: Listing,
): Promise<{ readonly stores: readonly StoreStatus[]; readonly unreadable: Listing['unreadable'] }> {
  const stores: StoreStatus[] = [];
  const unreadable = [...listing.unreadable];
  for (const { store: each, views } of listing.stores) {
    const { name, store } = each;
    try {
      const kit = (await kitFinding(ctx, store))?.verdict ?? null;
      stores.push({ name, url: store.url, points: views.length, bytes: await store.bytes(ctx), kit });
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      unreadable.push({ name, error });
    }
  }
  return { stores, unreadable };
}

const KITS = { pass: 'opens it', unknown: 'not known to open it', fail: 'DOES NOT OPEN IT: lifeboat keys kit' };

function statusOf(ctx: Context, config: Config, points: readonly Everywhere[], name: string): ComponentStatus {
  const holding = points
    .filter(({ point }) => point.stack === config.stack && heldBy(point).includes(name) && point.plan !== SAFETY_PLAN)
    .toSorted((a, b) => byBeginning(a.point, b.point));
  const newest = holding.at(-1);
  const cut = newest?.point.components[name]?.cut;
  const ageMs = cut ? ctx.now().getTime() - Date.parse(cut.at) : null;
  const tier = config.components.find((each) => each.name === name)?.common.tier;
  const rpoMs = (tier === undefined ? undefined : config.tiers[tier]?.rpo) ?? null;
  const proofs = holding.flatMap((each) =>
    each.in.flatMap(({ view }) =>
      view.proofs.filter(({ how, components }) => how !== 'copy' && components.includes(name)).map(({ at }) => at),
    ),
  );
  return {
    name,
    point: newest?.point.id ?? null,
    ageMs,
    rpoMs,
    provedAt: proofs.sort().at(-1) ?? null,
    stores: newest?.in.map(({ store }) => store) ?? [],
    state: ageMs === null ? 'unprotected' : rpoMs !== null && ageMs > rpoMs ? 'late' : 'protected',
  };
}

function toJson({ name, point, ageMs, rpoMs, provedAt, stores, state }: ComponentStatus): object {
  return { name, state, point, age_ms: ageMs, rpo_ms: rpoMs, proved_at: provedAt, stores };
}

function componentText(components: readonly ComponentStatus[]): string {
  return table(
    ['component', 'state', 'newest point', 'would lose', 'may lose', 'last proved', 'in'].map((title) => ({ title })),
    components.map((each) => [
      each.name,
      each.state,
      each.point ?? 'none',
      each.ageMs === null ? 'everything' : durationText(each.ageMs),
      each.rpoMs === null ? '' : durationText(each.rpoMs),
      each.provedAt?.slice(0, 16).replace('T', ' ') ?? 'never',
      each.stores.join(', '),
    ]),
  );
}
