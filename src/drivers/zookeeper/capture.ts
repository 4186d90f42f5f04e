import { batched, bytesOf } from '../../core/bytes.ts';
import { putInventory } from '../../core/inventory.ts';
import type { Bytes, Capture, Context, InventoryLine, InventoryReader, Rendition, Sink } from '../../core/model.ts';
import {
  type Content,
  type Entry,
  entryLine,
  headLine,
  inventoryLine,
  partOf,
  TREE_PART,
  tailLine,
} from './entries.ts';
import { identityOf, needRoot, versionOf } from './facts.ts';
import type { Settings } from './settings.ts';
import { snapshot } from './snapshot.ts';

/** What holds more is a part of its own. */
const WHOLE_BYTES_MAX = 16 * 1024;

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
  const totals = { znodes: 0, bytes: 0, ephemerals: 0, denied: 0 };
  await sink.put(ctx, TREE_PART, treeBody(tree.entries(), { root: settings.root, zxid }), { rendition: treeRendition });
  await putInventory(ctx, sink, counted(tree.entries(), totals));
  const warnings = [...tree.warnings];
  if (totals.denied > 0) {
    warnings.push(`${totals.denied} znodes could not be read and are not in the point: see the rights of the user`);
  }
  return {
    cut: { position: zxid, at },
    method: 'walk',
    serverVersion,
    identity: await identityOf(tree.client, settings),
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
      yield* counted(tree.entries(), { znodes: 0, bytes: 0, ephemerals: 0, denied: 0 });
    },
  };
}

async function* treeBody(entries: AsyncIterable<Entry>, { root, zxid }: { root: string; zxid: string }): Bytes {
  async function* lines(): AsyncIterable<string> {
    let count = 0;
    yield headLine(root, zxid);
    for await (const entry of entries) {
      count += 1;
      yield entryLine(entry);
    }
    yield tailLine(count);
  }
  yield* batched(lines());
}

async function* counted(
  entries: AsyncIterable<Entry>,
  totals: { znodes: number; bytes: number; ephemerals: number; denied: number },
): AsyncIterable<InventoryLine> {
  for await (const entry of entries) {
    totals.znodes += entry.type === 'ephemeral' ? 0 : 1;
    totals.ephemerals += entry.type === 'ephemeral' ? 1 : 0;
    totals.denied += entry.type === 'denied' ? 1 : 0;
    totals.bytes += entry.content?.bytes ?? 0;
    const line = inventoryLine(entry);
    if (line) yield line;
  }
}
