// Everything that some buckets hold: listed, taken by an intake, and told as entries and as lines of an inventory.

import { byKindAndName } from '../../core/inventory.ts';
import type { Context, InventoryLine } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import type { Client } from './client.ts';
import { type Entry, inventoryLine } from './entries.ts';
import type { Intake, Unchanged } from './intake.ts';
import { listed } from './listing.ts';
import type { Listed } from './pages.ts';
import type { Scope } from './settings.ts';

/** Pages of a thousand objects that are looked at together. */
const PAGES_AHEAD = 3;
/** Lines for a part that are held until they go to disk. */
const HELD_CHARS = 512 * 1024;
const LINE_CHARS = 200;

export interface Walk {
  readonly intake: Intake;
  /** What need not be read again. */
  readonly unchanged: Unchanged | null;
}
export interface Taken {
  readonly entries: readonly Entry[];
  readonly inventoryLines: readonly InventoryLine[];
}

/** In the order of entries, some at a time. */
export async function* walk(
  ctx: Context,
  client: Client,
  scopes: readonly Scope[],
  { intake, unchanged }: Walk,
): AsyncIterable<Taken> {
  interface Step {
    readonly scope: Scope;
    readonly page: readonly Listed[];
    readonly before: ReadonlyMap<Listed, Entry>;
  }
  async function* pages(): AsyncIterable<Step> {
    for (const scope of scopes) {
      for await (const page of listed(ctx, client, scope)) {
        yield { scope, page, before: (await unchanged?.in(scope.bucket, page)) ?? new Map() };
      }
    }
  }
  const taken = mapOrdered(pages(), PAGES_AHEAD, async ({ scope, page, before }) => ({
    entries: await intake.take(scope.bucket, page, before),
    calledAs: scope.calledAs,
  }));
  let [place, ordinal] = ['', 0];
  for await (const { entries, calledAs } of taken) {
    const inventoryLines = entries.map((entry) => {
      const here = `${entry.bucket}/${entry.key}`;
      ordinal = here === place ? ordinal + 1 : 1;
      place = here;
      return inventoryLine(calledAs === undefined ? entry : { ...entry, bucket: calledAs }, ordinal);
    });
    yield { entries, inventoryLines };
  }
}

// It comes in order, but for a few: what is held for longer than it takes to write it only keeps the collector busy.
export const inInventoryOrder = {
  heldCharsMax: HELD_CHARS,
  charsOf: ({ name }: InventoryLine) => name.length + LINE_CHARS,
  order: byKindAndName,
  lineOf: (line: InventoryLine) => JSON.stringify(line),
  itemOf: (line: string) => JSON.parse(line) as InventoryLine, // a line of our own
};
