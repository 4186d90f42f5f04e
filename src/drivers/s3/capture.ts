// A capture: the listing of each bucket, compared with that of the earlier point; what changed is read.

import { bytesOf } from '../../core/bytes.ts';
import { INVENTORY_PART, inventoryText } from '../../core/inventory.ts';
import type { Bytes, Capture, Context, InventoryLine, Sink, Source } from '../../core/model.ts';
import { joinsAt } from '../../core/moments.ts';
import { sorter } from '../../core/sorter.ts';
import { spool } from '../../core/spool.ts';
import { BUCKETS_PART, type CapturedBucket, capturedBucket, scopesOf, settingLines } from './buckets.ts';
import { type Client, openClient } from './client.ts';
import { type Entry, entryLine, OBJECTS_PART } from './entries.ts';
import { storingIntake, unchangedSince } from './intake.ts';
import { serverMs, sourceOf } from './journal/source.ts';
import { openKeeper } from './keeping.ts';
import { listMeta, plainNames } from './plain.ts';
import { recheckAt } from './recheck.ts';
import { needSilentRights } from './rights.ts';
import type { Scope, Settings } from './settings.ts';
import { inInventoryOrder, walk } from './walk.ts';
import { warningList } from './warnings.ts';

export async function capture(ctx: Context, settings: Settings, sink: Sink, previous?: Source): Promise<Capture> {
  await using client = openClient(ctx, settings);
  const warnings = warningList();
  const scopes = await scopesOf(ctx, client);
  const buckets = await bucketsOf(ctx, client, scopes);
  const at = new Date(serverMs(ctx, client)).toISOString();
  const totals = { buckets: scopes.length, objects: 0, versions: 0, delete_markers: 0, bytes: 0 };
  // Put only after the walk: a part that waits for others could hold the place that they wait for.
  await using lines = spool(ctx.scratch, 'the list of objects');
  await using inventory = sorter<InventoryLine>(ctx.scratch, 'the inventory', inInventoryOrder);
  await inventory.add([factsLine(client), ...buckets.flatMap(settingLines)]);
  {
    await using unchanged = previous ? await unchangedSince(ctx, previous) : null;
    const names = plainNames();
    await using keeper = openKeeper(ctx, sink, previous ?? null, names);
    const recheck = recheckAt(Date.parse(at), settings.recheckMs, unchanged?.at ?? at);
    const lockable = new Set(buckets.filter(({ settings: has }) => has['object-lock']).map(({ name }) => name));
    for (const scope of scopes) await needSilentRights(ctx, client, scope, lockable.has(scope.bucket));
    const intake = storingIntake(ctx, client, { sink, keeper, names, told: warnings, recheck, lockable });
    for await (const { entries, inventoryLines } of walk(ctx, client, scopes, { intake, unchanged })) {
      await lines.add(entries.map(entryLine).join(''));
      await inventory.add(inventoryLines);
      for (const entry of entries) count(totals, entry);
      ctx.progress({ task: 's3', phase: 'capture', bytes: totals.bytes, items: totals.objects + totals.versions });
    }
    await keeper.keep();
  }
  const document = { server: client.server(), at, buckets };
  await sink.put(ctx, BUCKETS_PART, bytesOf(`${JSON.stringify(document, null, 2)}\n`), listMeta(BUCKETS_PART));
  await sink.put(ctx, OBJECTS_PART, lines.body(), listMeta(OBJECTS_PART));
  await sink.put(ctx, INVENTORY_PART, textOf(inventory.sorted()), listMeta(INVENTORY_PART));
  return {
    cut: { position: at, at },
    method: 'listing',
    serverVersion: versionOf(client),
    identity: client.where,
    inventoryLevel: settings.inventory,
    totals,
    warnings: [...warnings.list(), ...unknownSettings(buckets)],
    journal: joinsAt(sourceOf(client), Date.parse(at), serverMs(ctx, client)),
  };
}

/** As it calls itself; nobody tells more. */
export function versionOf(client: Client): string {
  return client.server() || 's3';
}

async function bucketsOf(ctx: Context, client: Client, scopes: readonly Scope[]): Promise<CapturedBucket[]> {
  const buckets: CapturedBucket[] = [];
  for (const scope of scopes) buckets.push(await capturedBucket(ctx, client, scope));
  return buckets;
}

/** What a comparison has to know of how the other lines came about. */
export function factsLine(client: Client, leftOut: readonly string[] = []): InventoryLine {
  const { tags, recheckMs } = client.settings;
  const left = leftOut.length === 0 ? {} : { left_out: [...leftOut] };
  const detail = { server: versionOf(client), tags: tags !== 'never', rechecked: recheckMs !== null, ...left };
  return { kind: 'facts', name: 'server', count: null, digest: null, detail };
}

async function* textOf(batches: AsyncIterable<readonly InventoryLine[]>): Bytes {
  for await (const batch of batches) yield Buffer.from(batch.map(inventoryText).join(''));
}

function count(
  totals: { objects: number; versions: number; delete_markers: number; bytes: number },
  { latest, marker, bytes = 0 }: Entry,
): void {
  if (marker) totals.delete_markers += 1;
  else if (latest) totals.objects += 1;
  else totals.versions += 1;
  totals.bytes += bytes;
}

function unknownSettings(buckets: readonly CapturedBucket[]): string[] {
  return buckets.flatMap(({ name, unknown }) => {
    const denied = Object.entries(unknown).filter(([, why]) => why.includes('may not'));
    return denied.map(([setting, why]) => `the ${setting} of bucket ${name} is not captured: ${why}`);
  });
}
