// A capture: the listing of each bucket, compared with that of the earlier point; what changed is read.

import { bytesOf } from '../../core/bytes.ts';
import { byKindAndName, INVENTORY_PART } from '../../core/inventory.ts';
import type { Bytes, Capture, Context, InventoryLine, InventoryReader, Sink, Source } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import { BUCKETS_PART, type CapturedBucket, capturedBucket, scopesOf, settingLines } from './buckets.ts';
import { type Client, openClient } from './client.ts';
import { type EntriesBefore, type Entry, entriesBefore, entryLine, inventoryLine, OBJECTS_PART } from './entries.ts';
import { countingIntake, digestingIntake, type Intake, storingIntake, unchangedIn } from './intake.ts';
import { listed } from './listing.ts';
import type { Listed } from './pages.ts';
import type { Scope, Settings } from './settings.ts';
import { openSorter } from './sorter.ts';
import { warningList } from './warnings.ts';

/** Pages of a thousand objects that are looked at together. */
const PAGES_AHEAD = 3;

export async function capture(ctx: Context, settings: Settings, sink: Sink, previous?: Source): Promise<Capture> {
  await using client = openClient(ctx, settings);
  const warnings = warningList();
  const scopes = await scopesOf(ctx, client);
  const buckets = await bucketsOf(ctx, client, scopes);
  const at = new Date(ctx.now().getTime() + (client.clockSkewMs() ?? 0)).toISOString();
  const totals = { buckets: scopes.length, objects: 0, versions: 0, delete_markers: 0, bytes: 0 };
  // Put only after the walk: a part that waits for others could hold the place that they wait for.
  await using lines = await openSorter<string>(ctx.scratch, inArrivalOrder);
  await using inventory = await openSorter<InventoryLine>(ctx.scratch, inInventoryOrder);
  await inventory.add([factsLine(client), ...buckets.flatMap(settingLines)]);
  {
    await using earlier = previous ? entriesBefore(ctx, previous) : null;
    const intake = storingIntake(ctx, client, sink, previous ?? null, warnings);
    for await (const { entries, inventoryLines } of walk(ctx, client, scopes, { intake, earlier })) {
      await lines.add(entries.map((entry) => entryLine(entry).trimEnd()));
      await inventory.add(inventoryLines);
      for (const entry of entries) count(totals, entry);
      ctx.progress({ task: 's3', phase: 'capture', bytes: totals.bytes, items: totals.objects + totals.versions });
    }
  }
  const document = { server: client.server(), buckets };
  await sink.put(ctx, BUCKETS_PART, bytesOf(`${JSON.stringify(document, null, 2)}\n`));
  await sink.put(
    ctx,
    OBJECTS_PART,
    textOf(lines.sorted(), (line) => line),
  );
  await sink.put(ctx, INVENTORY_PART, textOf(inventory.sorted(), inventoryText));
  return {
    cut: { position: at, at },
    method: 'listing',
    serverVersion: versionOf(client),
    identity: client.where,
    inventoryLevel: settings.inventory,
    totals,
    warnings: [...warnings.list(), ...unknownSettings(buckets)],
  };
}

/** Of the buckets as they are when it is read. */
export function liveInventory(settings: Settings): InventoryReader {
  return {
    async *lines(ctx) {
      await using client = openClient(ctx, settings);
      const scopes = (await scopesOf(ctx, client)).slice();
      await using inventory = await openSorter<InventoryLine>(ctx.scratch, inInventoryOrder);
      const buckets = await bucketsOf(ctx, client, scopes);
      await inventory.add([factsLine(client), ...buckets.flatMap(settingLines)]);
      const intake = settings.inventory === 'full' ? digestingIntake(ctx, client, warningList()) : countingIntake;
      for await (const { inventoryLines } of walk(ctx, client, scopes, { intake, earlier: null })) {
        await inventory.add(inventoryLines);
      }
      for await (const batch of inventory.sorted()) yield* batch;
    },
  };
}

/** As it calls itself; nobody tells more. */
export function versionOf(client: Client): string {
  return client.server() || 's3';
}

interface Walk {
  readonly intake: Intake;
  readonly earlier: EntriesBefore | null;
}
interface Taken {
  readonly entries: readonly Entry[];
  readonly inventoryLines: readonly InventoryLine[];
}

/** Everything that is listed, in the order of entries, some at a time. */
async function* walk(
  ctx: Context,
  client: Client,
  scopes: readonly Scope[],
  { intake, earlier }: Walk,
): AsyncIterable<Taken> {
  async function* pages(): AsyncIterable<{ bucket: string; page: readonly Listed[]; before: Map<Listed, Entry> }> {
    for (const scope of scopes) {
      const { bucket } = scope;
      for await (const page of listed(ctx, client, scope)) {
        yield { bucket, page, before: await unchangedIn(earlier, bucket, page) };
      }
    }
  }
  const taken = mapOrdered(pages(), PAGES_AHEAD, ({ bucket, page, before }) => intake.take(bucket, page, before));
  let [place, ordinal] = ['', 0];
  for await (const entries of taken) {
    const inventoryLines = entries.map((entry) => {
      const here = `${entry.bucket}/${entry.key}`;
      ordinal = here === place ? ordinal + 1 : 1;
      place = here;
      return inventoryLine(entry, ordinal);
    });
    yield { entries, inventoryLines };
  }
}

async function bucketsOf(ctx: Context, client: Client, scopes: readonly Scope[]): Promise<CapturedBucket[]> {
  const buckets: CapturedBucket[] = [];
  for (const scope of scopes) buckets.push(await capturedBucket(ctx, client, scope));
  return buckets;
}

function factsLine(client: Client): InventoryLine {
  return { kind: 'facts', name: 'server', count: null, digest: null, detail: { server: versionOf(client) } };
}

const inArrivalOrder = { order: () => 0, lineOf: (line: string) => line, itemOf: (line: string) => line };
const inInventoryOrder = {
  order: byKindAndName,
  lineOf: (line: InventoryLine) => JSON.stringify(line),
  itemOf: (line: string) => JSON.parse(line) as InventoryLine, // a line of our own
};

function inventoryText({ kind, name, count, digest, detail }: InventoryLine): string {
  return JSON.stringify({ kind, name, count, digest, detail });
}

async function* textOf<T>(batches: AsyncIterable<readonly T[]>, lineOf: (item: T) => string): Bytes {
  for await (const batch of batches) {
    if (batch.length > 0) yield Buffer.from(`${batch.map(lineOf).join('\n')}\n`);
  }
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
