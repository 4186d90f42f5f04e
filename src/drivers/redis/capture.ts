// A capture: the server's copy for replicas, walked while it is written to the store.

import { byKindAndName, putInventory } from '../../core/inventory.ts';
import type { Capture, Context, Cut, InventoryLine, Rendition, Sink } from '../../core/model.ts';
import { askTime } from './clock.ts';
import { type Connection, connect } from './connection.ts';
import { logLine, rdbFacts } from './facts.ts';
import { positionOf, sourceOf } from './position.ts';
import type { Job, Result } from './rdb/job.ts';
import { type Copy, fullSync } from './replica.ts';
import type { ServerFacts } from './server.ts';
import type { Settings } from './settings.ts';
import { startWalk, walkThrough } from './walker.ts';

export const RDB_PART = 'dump.rdb';

/** An RDB is compressed inside, and a plain folder holds it as every Redis can load it. */
export const rdbRendition: Rendition = {
  name: RDB_PART,
  word: 'redis',
  item: null,
  alone: true,
  suffix: '.rdb',
  gzip: false,
};

export async function capture(ctx: Context, settings: Settings, sink: Sink): Promise<Capture> {
  await using connection = await connect(ctx, settings);
  await using sync = await fullSync(ctx, settings);
  return await captureSync(ctx, settings, { sync, asked: await serverTime(ctx, connection) }, sink);
}

/** Of a copy that has been begun; `asked` is the server's clock by then. */
export async function captureSync(
  ctx: Context,
  settings: Settings,
  { sync, asked }: { readonly sync: Copy; readonly asked: number },
  sink: Sink,
): Promise<Capture> {
  const { server, replicationId } = sync;
  await using walk = startWalk(ctx, tallyJob(settings));
  const body = walk.through(sync.body);
  await sink.put(ctx, RDB_PART, body, { rendition: rdbRendition });
  const result = await walk.result();
  const cut = cutOf(sync, asked, result);
  const position = positionOf(BigInt(sync.offset));
  const facts = [timeLine(cut.at), logLine(replicationId, position)];
  await putInventory(ctx, sink, [...result.lines, ...facts].sort(byKindAndName));
  return {
    cut,
    method: 'replica',
    serverVersion: server.version,
    identity: server.runId,
    inventoryLevel: settings.inventory,
    totals: result.totals,
    warnings: warningsOf(server, result),
    journal: { source: sourceOf(replicationId), from: position, to: position },
  };
}

/** What the live server holds now, by a full copy that is kept nowhere. */
export async function liveInventory(ctx: Context, settings: Settings): Promise<InventoryLine[]> {
  await using connection = await connect(ctx, settings);
  await using sync = await fullSync(ctx, settings);
  const at = await serverTime(ctx, connection);
  const result = await walkThrough(ctx, sync.body, tallyJob(settings));
  return [...result.lines, timeLine(cutOf(sync, at, result).at, settings.frozen)];
}

export function tallyJob({ inventory, databases }: Settings): Job {
  return { kind: 'tally', level: inventory, databases };
}

/** The server's clock in milliseconds; ours where it may not be asked. */
export async function serverTime(ctx: Context, connection: Connection): Promise<number> {
  return (await askTime(connection)) ?? ctx.now().getTime();
}

/** A copy that another replica had asked for before is older than our question: the RDB says when it was begun. */
function cutOf(sync: Copy, asked: number, { aux }: Result): Cut {
  const begun = Number(aux.ctime ?? Number.NaN);
  const at = Number.isFinite(begun) ? Math.min(asked, (begun + 1) * 1000) : asked;
  return { position: `${sync.replicationId}:${sync.offset}`, at: new Date(at).toISOString() };
}

/** What had passed away by then may be missing: see compare. */
function timeLine(at: string, frozen = false): InventoryLine {
  return { kind: 'facts', name: 'time', count: null, digest: null, detail: { at, ...(frozen && { frozen }) } };
}

function warningsOf({ mode }: ServerFacts, { lines }: Result): string[] {
  const warnings = [];
  if (mode === 'cluster') warnings.push('this node of a cluster holds its own slots only: capture the others too');
  const { modules } = rdbFacts(lines);
  if (modules.length > 0) {
    warnings.push(`values of ${modules.join(', ')} can be restored only into a server that has these modules`);
  }
  return warnings;
}
