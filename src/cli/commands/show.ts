import type { Command } from 'commander';
import { manifestJson } from '../../core/manifest.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { missedText } from '../../engine/slots.ts';
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
import { joinedJson, joinedOf, joinedText, momentsOf } from '../windows.ts';

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
    const names = config.components.map(({ name }) => name);
    const { moments, unreadable } = await momentsOf(session.ctx, listing, config.stack, names);
    const joined = joinedOf(moments, id);
    session.print({ ...toJson(each, unreadable), ...joinedJson(joined) }, () => {
      return toText(each, (name) => joinedText(joined.get(name), session.ctx.now()));
    });
    noteUnreadable(session, unreadable);
    return unreadable.length === 0 ? 0 : 3;
  });
}

function toJson(each: Everywhere, unreadable: Listing['unreadable']): object {
  const stores = each.in.map(({ store, view }) => ({
    name: store,
    proved_at: view.provedAt,
    copy_of_proved: view.copyOfProved,
    proofs: view.proofs,
  }));
  return { ...manifestJson(each.point), stores, ...unreadableJson(unreadable) };
}

function toText(each: Everywhere, logOf: (component: string) => string): string {
  const { point } = each;
  const head = [
    `point      ${point.id}, ${point.status}`,
    `stack      ${point.stack}${point.version ? ` ${point.version}` : ''}${point.plan ? `, plan ${point.plan}` : ''}`,
    `started    ${point.startedAt}`,
    `finished   ${point.finishedAt}`,
    `skew       ${durationText(point.skewMs)} between the first cut and the last`,
    `stores     ${each.in.map(({ store }) => store).join(', ')}`,
    `proved     ${provedText(each)}`,
    ...(point.missed ? [`missed     plan ${point.plan} ${missedText(point.missed)}, before this point`] : []),
  ];
  const warnings = Object.entries(point.components).flatMap(([name, { warnings: texts }]) =>
    texts.map((text) => `warning: ${name}: ${setIn(text)}`),
  );
  return [...head, '', componentTable(point), '', cutTable(point, logOf), ...warnings].join('\n');
}

function cutTable(point: RecoveryPoint, logOf: (component: string) => string): string {
  const rows = Object.entries(point.components).flatMap(([name, { cut, method, inventoryLevel }]) =>
    cut ? [[name, cut.position, cut.at, method ?? '', inventoryLevel ?? '', logOf(name)]] : [],
  );
  const titles = ['component', 'cut', 'at', 'method', 'inventory', 'log'];
  const isLogged = rows.some((row) => row.at(-1) !== '');
  return table(
    titles.slice(0, isLogged ? undefined : -1).map((title) => ({ title })),
    rows,
  );
}
