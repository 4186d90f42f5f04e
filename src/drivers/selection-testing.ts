// How tests of drivers compare a selection that came back with the point, as restores do.

import assert from 'node:assert/strict';
import type { Driver } from '../core/driver.ts';
import { inventoryOf, inventoryWith } from '../core/inventory.ts';
import type { Context, Finding, Restored, Source } from '../core/model.ts';

export async function selectionFindings(
  ctx: Context,
  driver: Driver,
  source: Source,
  { selected, inventory }: Restored,
): Promise<Finding[]> {
  assert.ok(selected && inventory, 'a selection is told from the rest');
  const was = inventoryWith(inventoryOf(source), selected.has);
  return await Array.fromAsync(driver.compare(ctx, was, inventoryWith(await inventory(ctx), selected.has)));
}
