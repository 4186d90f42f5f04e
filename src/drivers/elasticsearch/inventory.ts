// What is in a cluster now: all of it, or what a restore has brought back.

import { inventoryFrom } from '../../core/inventory.ts';
import type { Context, InventoryLine, InventoryReader, Json, Selected } from '../../core/model.ts';
import { named } from './capture.ts';
import { connect } from './client.ts';
import type { Rendered } from './documents.ts';
import { type IndexEntry, inventoryLines, type NamesBefore } from './entries.ts';
import { serverFacts } from './server.ts';
import type { Settings } from './settings.ts';
import { survey } from './survey.ts';

/** Of the cluster as it is now. */
export async function liveInventory(ctx: Context, settings: Settings): Promise<InventoryReader> {
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  const { entries, streams, definitions } = await survey(
    ctx,
    { client, server, settings },
    {
      countsOnly: settings.inventory === 'counts',
      documents: drained,
    },
  );
  return inventoryFrom(inventoryLines(entries, streams, definitions));
}

/** Of what a restore has brought back alone, named as in the point. */
export async function restoredInventory(
  ctx: Context,
  settings: Settings,
  { indices, aliases, left, definitions }: NamesBefore,
): Promise<InventoryReader> {
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  const [first = '-*', ...more] = indices.keys();
  const found = await survey(
    ctx,
    { client, server, settings: { ...settings, indices: [first, ...more] } },
    { countsOnly: settings.inventory === 'counts', documents: drained },
  );
  const before = (name: string): string => indices.get(name) ?? name;
  const entries = found.entries.map((entry): IndexEntry => {
    const own = Object.entries(entry.aliases).flatMap(([alias, told]): [string, Json][] => {
      const name = aliases.get(alias);
      return name === undefined ? [] : [[name, told]];
    });
    const stream = entry.stream === null ? null : before(entry.stream);
    return { ...entry, name: before(entry.name), stream, aliases: Object.fromEntries(own) as IndexEntry['aliases'] };
  });
  const streams = found.streams.map((stream) => ({ ...stream, name: before(stream.name) }));
  const told = found.definitions.filter(({ kind, name }) => definitions.has(`${kind} ${name}`));
  const unsaid = left.map((name) => ({ kind: 'alias', name, count: null, digest: null }));
  const lines = inventoryLines(entries, streams, told).filter(
    ({ kind, name }) => kind !== 'alias' || !left.includes(name),
  );
  return inventoryFrom([...lines, ...unsaid]);
}

/** Templates and the like are in no selection. An alias is one line for all of its indices. */
export function selectedOf({ indices, aliases, whole, left }: NamesBefore): Selected {
  const names = new Set(indices.values());
  const set = [...aliases.values()].filter((name) => !left.includes(name));
  const has = ({ kind, name }: InventoryLine): boolean => {
    if (kind === 'alias') return set.includes(name) && whole.has(name);
    return ['index', 'mapping', 'settings', 'data-stream'].includes(kind) && names.has(name);
  };
  const shared = set.filter((name) => !whole.has(name));
  const why = `aliases that stand for other indices, too: ${named(shared)}`;
  return { has, uncompared: shared.length === 0 ? null : why };
}

/** For who wants the sums alone. */
export async function drained(
  _ctx: Context,
  _index: string,
  _slice: number,
  pages: AsyncIterable<Rendered>,
): Promise<IndexEntry['parts']> {
  for await (const _ of pages) {
    // It is summed while it is made.
  }
  return [];
}
