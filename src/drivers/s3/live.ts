// The inventory of buckets as they are when it is read: those of the settings, or those that a restore has filled.

import { inventoryOf, paired } from '../../core/inventory.ts';
import type { Context, InventoryLine, InventoryReader, Source } from '../../core/model.ts';
import { sorter } from '../../core/sorter.ts';
import { type CapturedBucket, capturedBucket, scopesOf, settingLines } from './buckets.ts';
import { factsLine } from './capture.ts';
import { type Client, openClient } from './client.ts';
import { countingIntake, digestingIntake } from './intake.ts';
import type { Scope, Settings } from './settings.ts';
import { renamedIn } from './target.ts';
import { inInventoryOrder, walk } from './walk.ts';
import { warningList } from './warnings.ts';
import type { Written } from './written.ts';

export interface LiveOptions {
  /** What a restore has written, so that it need not be read again. */
  readonly written: Written;
  /** Buckets in the place of those that the settings name. */
  readonly scopes?: readonly Scope[];
  /** Buckets of the point that a restore did not touch. */
  readonly leftOut?: readonly string[];
}

export function liveInventory(
  settings: Settings,
  { written, scopes: given, leftOut = [] }: LiveOptions,
): InventoryReader {
  return {
    async *lines(ctx) {
      await using client = openClient(ctx, settings);
      const scopes = given ?? (await scopesOf(ctx, client));
      await using inventory = sorter<InventoryLine>(ctx.scratch, 'the inventory', inInventoryOrder);
      await inventory.add([factsLine(client, leftOut)]);
      for (const scope of scopes) await inventory.add(settingLines(await bucketAs(ctx, client, scope)));
      const intake =
        settings.inventory === 'counts' ? countingIntake : digestingIntake(ctx, client, warningList(), written);
      for await (const { inventoryLines } of walk(ctx, client, scopes, { intake, unchanged: null })) {
        await inventory.add(inventoryLines);
      }
      for await (const batch of inventory.sorted()) yield* batch;
    },
  };
}

/** Only what the point has, too: beside it the target may have more. */
export function limitedTo(source: Source, inventory: InventoryReader): InventoryReader {
  return {
    async *lines(ctx) {
      for await (const { expected, actual } of paired(ctx, inventoryOf(source), inventory)) {
        if (actual && (expected || actual.kind === 'facts' || actual.kind === 'setting')) yield actual;
      }
    },
  };
}

async function bucketAs(ctx: Context, client: Client, scope: Scope): Promise<CapturedBucket> {
  const captured = await capturedBucket(ctx, client, scope);
  const { bucket, calledAs } = scope;
  if (calledAs === undefined) return captured;
  const { policy } = captured.settings;
  const settings = {
    ...captured.settings,
    ...(policy === undefined ? {} : { policy: renamedIn('policy', policy, bucket, calledAs) }),
  };
  return { ...captured, name: calledAs, settings };
}
