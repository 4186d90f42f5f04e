// Which hooks a run has still to run after its work, kept in its stores: a run that is killed leaves them to the next.

import { z } from 'zod';
import { identityOf, isGone, processIdentitySchema } from '../core/liveness.ts';
import type { Context } from '../core/model.ts';
import { alive, type Lane, onEach } from './fan-out.ts';
import { type Hook, type HookFailure, runAll } from './hooks.ts';
import { readNote, strikeNote } from './notes.ts';

const KIND = 'hooks';

const noteSchema = z.object({
  of: z.array(z.string()),
  process: processIdentitySchema.nullable(),
  noted_at: z.string(),
});

/** The hooks that run after the work, by the component they belong to; those of a plan by its own word. */
export type AfterHooks = ReadonlyMap<string, readonly Hook[]>;

/** Notes that this process will have run `hooks` when it is done; nothing where there are none. */
export async function oweHooks(ctx: Context, lanes: readonly Lane[], run: string, hooks: AfterHooks): Promise<void> {
  if (hooks.size === 0) return;
  const note = { of: [...hooks.keys()], process: await identityOf(process.pid), noted_at: ctx.now().toISOString() };
  await onEach(ctx, lanes, ({ store }) => store.records.put(ctx, KIND, run, note));
}

/** They have been run. */
export async function strikeHooks(ctx: Context, lanes: readonly Lane[], run: string, hooks: AfterHooks): Promise<void> {
  if (hooks.size > 0) await strikeRun(ctx, lanes, run);
}

/** Runs those of runs whose process is gone. A run that has other hooks than they had leaves them noted. */
export async function runOwedHooks(
  ctx: Context,
  lanes: readonly Lane[],
  hooks: AfterHooks,
  failed: (of: string) => (failure: HookFailure) => void,
): Promise<void> {
  if (hooks.size === 0) return;
  const noted = await onEach(ctx, lanes, (lane) => owedIn(ctx, lane));
  const runs = new Map([...noted.values()].flatMap((each) => [...each]));
  for (const [run, owed] of runs) {
    if (!owed.every((of) => hooks.has(of))) continue;
    for (const of of owed) await runAll(ctx, hooks.get(of) ?? [], failed(of));
    await strikeRun(ctx, lanes, run);
  }
}

/** By the run that left them. Those whose process may be at work are left out. */
async function owedIn(ctx: Context, { store }: Lane): Promise<ReadonlyMap<string, readonly string[]>> {
  const owed = new Map<string, readonly string[]>();
  for (const run of await Array.fromAsync(store.records.list(ctx, KIND))) {
    const note = await readNote(ctx, store, { kind: KIND, id: run }, noteSchema);
    if (note && (await isGone(note.process, new Date(note.noted_at), ctx.now()))) owed.set(run, note.of);
  }
  return owed;
}

async function strikeRun(ctx: Context, lanes: readonly Lane[], run: string): Promise<void> {
  await Promise.all(alive(lanes).map(({ store }) => strikeNote(ctx, store, { kind: KIND, id: run })));
}
