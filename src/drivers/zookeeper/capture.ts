import { batched, bytesOf } from '../../core/bytes.ts';
import { INVENTORY_PART } from '../../core/inventory.ts';
import type { Capture, Context, InventoryLine, InventoryReader, Rendition, Sink } from '../../core/model.ts';
import { type Content, headLine, partOf, TREE_PART, tailLine, WHOLE_BYTES_MAX } from './entries.ts';
import { needRoot, versionOf } from './facts.ts';
import type { Kept } from './records.ts';
import type { Settings } from './settings.ts';
import { snapshot } from './snapshot.ts';

export const treeRendition: Rendition = {
  name: TREE_PART,
  word: 'zookeeper',
  item: null,
  alone: true,
  suffix: '.ndjson',
  gzip: true,
};

export async function capture(ctx: Context, settings: Settings, sink: Sink): Promise<Capture> {
  await needRoot(ctx, settings);
  const serverVersion = await versionOf(ctx, settings);
  const put = new Map<string, Promise<unknown>>();
  async function take(content: NonNullable<Content>): Promise<Content> {
    const { sha256, whole, bytes } = content;
    if (whole === null || bytes <= WHOLE_BYTES_MAX) return content;
    const putting = put.get(sha256) ?? sink.put(ctx, partOf(sha256), bytesOf(whole));
    put.set(sha256, putting);
    await putting;
    return { bytes, sha256, whole: null };
  }
  await using tree = await snapshot(ctx, settings, take);
  const at = ctx.now().toISOString();
  const zxid = `0x${tree.zxid.toString(16)}`;
  const totals = { znodes: 0, bytes: 0, ephemerals: 0, denied: 0, acls_masked: 0 };
  const head = headLine(settings.root, zxid);
  await sink.put(ctx, TREE_PART, batched(treeText(head, tree.znodes(), totals)), { rendition: treeRendition });
  await sink.put(ctx, INVENTORY_PART, batched(inventoryText(tree.znodes())));
  const warnings = [...tree.warnings];
  if (totals.denied > 0) {
    const what = `${totals.denied} znodes could not be read`;
    warnings.push(`${what}: neither they nor what is below them is in the point; lifeboat doctor names them`);
  }
  if (totals.acls_masked > 0) {
    const what = `the server showed the ACLs of ${totals.acls_masked} znodes without the hashes of passwords`;
    warnings.push(`${what}, so they can't be restored: the user of the component needs right a (admin) there`);
  }
  return {
    cut: { position: zxid, at },
    method: 'walk',
    serverVersion,
    identity: tree.identity,
    inventoryLevel: 'full',
    totals,
    warnings,
  };
}

/** Of the tree as it is now. */
export async function liveInventory(ctx: Context, settings: Settings): Promise<InventoryReader> {
  await needRoot(ctx, settings);
  return {
    async *lines(reading) {
      await using tree = await snapshot(reading, settings, async ({ bytes, sha256 }) => ({
        bytes,
        sha256,
        whole: null,
      }));
      for await (const znodes of tree.znodes()) {
        for (const { inventory } of znodes) if (inventory !== '') yield lineIn(inventory);
      }
    },
  };
}

/** It was made by this process. */
function lineIn(text: string): InventoryLine {
  return JSON.parse(text);
}

interface Totals {
  znodes: number;
  bytes: number;
  ephemerals: number;
  denied: number;
  acls_masked: number;
}

async function* treeText(head: string, batches: AsyncIterable<readonly Kept[]>, totals: Totals): AsyncIterable<string> {
  let entries = 0;
  yield head;
  for await (const znodes of batches) {
    for (const { type, bytes, masked } of znodes) {
      totals.znodes += type === 'ephemeral' ? 0 : 1;
      totals.ephemerals += type === 'ephemeral' ? 1 : 0;
      totals.denied += type === 'denied' ? 1 : 0;
      totals.acls_masked += masked ? 1 : 0;
      totals.bytes += bytes;
    }
    entries += znodes.length;
    yield znodes.map(({ line }) => `${line}\n`).join('');
  }
  yield tailLine(entries);
}

async function* inventoryText(batches: AsyncIterable<readonly Kept[]>): AsyncIterable<string> {
  for await (const znodes of batches) {
    yield znodes.map(({ inventory }) => (inventory === '' ? '' : `${inventory}\n`)).join('');
  }
}
