import type { Command } from 'commander';
import { manifestJson } from '../../core/manifest.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import {
  chooseEverywhere,
  type Everywhere,
  type Listing,
  listEverywhere,
  noteUnreadable,
  pointsOf,
  provedText,
  unreadableJson,
} from '../across.ts';
import { namesOption } from '../options.ts';
import type { Bind } from '../session.ts';
import { openStack } from '../stack.ts';
import { durationText, table } from '../terminal.ts';
import { componentTable, setIn } from '../views.ts';

export function define(command: Command, bind: Bind): void {
  command
    .argument('[point]', "'latest', 'latest-proved', an id or the beginning of one", 'latest')
    .addOption(namesOption('--store <stores>', 'only these stores'))
    .addHelpText('after', '\nExample: lifeboat show 2026-11-21');
  bind<{ store?: readonly string[] }>(command, async (session, { store }, [word]) => {
    const config = await session.config();
    await using stack = await openStack(session.ctx, config, { stores: store, components: [] });
    const listing = await listEverywhere(session.ctx, stack);
    const wanted = { word, components: config.components.map(({ name }) => name) };
    const { id } = chooseEverywhere(listing, config.stack, wanted).chosen.point;
    const each = pointsOf(listing).find(({ point }) => point.id === id);
    if (!each) throw new Error(`point ${id} was chosen from the list`);
    session.print(toJson(each, listing), () => toText(each));
    noteUnreadable(session, listing.unreadable);
    return listing.unreadable.length === 0 ? 0 : 3;
  });
}

function toJson(each: Everywhere, { unreadable }: Listing): object {
  const stores = each.in.map(({ store, view }) => ({
    name: store,
    proved_at: view.provedAt,
    copy_of_proved: view.copyOfProved,
    proofs: view.proofs,
  }));
  return { ...manifestJson(each.point), stores, ...unreadableJson(unreadable) };
}

function toText(each: Everywhere): string {
  const { point } = each;
  const head = [
    `point      ${point.id}, ${point.status}`,
    `stack      ${point.stack}${point.version ? ` ${point.version}` : ''}${point.plan ? `, plan ${point.plan}` : ''}`,
    `started    ${point.startedAt}`,
    `finished   ${point.finishedAt}`,
    `skew       ${durationText(point.skewMs)} between the first cut and the last`,
    `stores     ${each.in.map(({ store }) => store).join(', ')}`,
    `proved     ${provedText(each)}`,
  ];
  const warnings = Object.entries(point.components).flatMap(([name, { warnings: texts }]) =>
    texts.map((text) => `warning: ${name}: ${setIn(text)}`),
  );
  return [...head, '', componentTable(point), '', cutTable(point), ...warnings].join('\n');
}

function cutTable(point: RecoveryPoint): string {
  const rows = Object.entries(point.components).flatMap(([name, { cut, method, inventoryLevel }]) =>
    cut ? [[name, cut.position, cut.at, method ?? '', inventoryLevel ?? '']] : [],
  );
  return table(
    ['component', 'cut', 'at', 'method', 'inventory'].map((title) => ({ title })),
    rows,
  );
}
