// Which hooks a run has still to run after its work, kept in its stores: a run that is killed leaves them to the next.

import { z } from 'zod';
import { isFailure } from '../core/errors.ts';
import { identityOf, isGone, processIdentitySchema } from '../core/liveness.ts';
import type { Context } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import { alive, type Lane, onEach } from './fan-out.ts';
import { type Hook, type HookFailure, runAll } from './hooks.ts';

const noteSchema = z.object({
  of: z.array(z.string()),
  process: processIdentitySchema.nullable(),
  noted_at: z.string(),
});

/** The hooks that run after the work, by the component they belong to; those of the plan by its own word. */
export type AfterHooks = ReadonlyMap<string, readonly Hook[]>;

/** Notes that this process will have run `hooks` when it is done; nothing where there are none. */
export async function oweHooks(ctx: Context, lanes: readonly Lane[], run: string, hooks: AfterHooks): Promise<void> {
  if (hooks.size === 0) return;
  const note = { of: [...hooks.keys()], process: await identityOf(process.pid), noted_at: ctx.now().toISOString() };
  await onEach(ctx, lanes, ({ store }) => store.records.put(ctx, 'hooks', run, note));
}

/** They have been run. What stays noted all the same is run once more by the next run. */
export async function strikeHooks(ctx: Context, lanes: readonly Lane[], run: string, hooks: AfterHooks): Promise<void> {
  if (hooks.size === 0) return;
  await Promise.allSettled(alive(lanes).map(({ store }) => store.records.delete(ctx, 'hooks', run)));
}

/** Runs those of runs whose process is gone. A run that has other hooks than they had leaves them noted. */
export async function runOwedHooks(
  ctx: Context,
  lanes: readonly Lane[],
  hooks: AfterHooks,
  failed: (of: string) => (failure: HookFailure) => void,
): Promise<void> {
  const done = new Set<string>();
  for (const { store } of hooks.size === 0 ? [] : alive(lanes)) {
    for (const run of await Array.fromAsync(store.records.list(ctx, 'hooks'))) {
      const owed = await owedBy(ctx, store, run);
      if (!owed?.every((of) => hooks.has(of))) continue;
      for (const of of owed.filter((each) => !done.has(`${run}/${each}`))) {
        await runAll(ctx, hooks.get(of) ?? [], failed(of));
        done.add(`${run}/${of}`);
      }
      await store.records.delete(ctx, 'hooks', run);
    }
  }
}

/** Null as long as its process may be at work. */
async function owedBy(ctx: Context, store: Store, run: string): Promise<readonly string[] | null> {
  try {
    const note = noteSchema.parse(await store.records.get(ctx, 'hooks', run));
    return (await isGone(note.process, new Date(note.noted_at), ctx.now())) ? note.of : null;
  } catch (error) {
    if (isFailure(error, 'missing')) return null; // another run has just struck it
    throw error;
  }
}
