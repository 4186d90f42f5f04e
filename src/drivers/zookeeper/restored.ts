// What a restore under other names has brought, read back under the names that it has in the point.

import { inventoryBatches } from '../../core/inventory.ts';
import type { Context, InventoryLine, InventoryReader, Selected, Source } from '../../core/model.ts';
import { connect } from './client.ts';
import { inventoryLine, pathIn } from './entries.ts';
import { type Mapping, targetOf } from './mapping.ts';
import { request } from './protocol.ts';
import type { Settings } from './settings.ts';
import { type Reader, readNode } from './walk.ts';

const TOGETHER = 500;

export function restoredInventory(settings: Settings, source: Source, mapping: Mapping): InventoryReader {
  return {
    async *lines(ctx) {
      await using client = await connect(ctx, settings);
      await client.call('sync', settings.root, request.path(settings.root));
      const reader: Reader = { client, root: '/', take: async (content) => ({ ...content, whole: null }) };
      for await (const lines of together(ctx, source)) {
        const found = await Promise.all(lines.map((line) => readBack(reader, mapping, line)));
        yield* found.filter((line) => line !== null);
      }
    },
  };
}

export function selectedOf(mapping: Mapping): Selected {
  return { has: ({ name }) => targetOf(mapping, pathIn(name)) !== null, uncompared: null };
}

async function* together(ctx: Context, source: Source): AsyncIterable<InventoryLine[]> {
  let some: InventoryLine[] = [];
  for await (const lines of inventoryBatches(ctx, source)) {
    for (const line of lines) {
      some.push(line);
      if (some.length < TOGETHER) continue;
      yield some;
      some = [];
    }
  }
  yield some;
}

/** Null when it is not there. */
async function readBack(reader: Reader, mapping: Mapping, line: InventoryLine): Promise<InventoryLine | null> {
  const path = pathIn(line.name);
  const target = targetOf(mapping, path);
  if (target === null) return { ...line, count: null, digest: null, detail: { left_out: true } };
  const found = await readNode(reader, target);
  return found && inventoryLine({ ...found.entry, path });
}
