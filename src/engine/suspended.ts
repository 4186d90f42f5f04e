// What a restore has suspended of a service (retention, lifecycles) is noted in the store that it restores from before
// it is suspended: a restore that is killed leaves the note, and the next run with that component sets it back.

import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { isFailure, messageOf } from '../core/errors.ts';
import { identityOf, isGone, processIdentitySchema } from '../core/liveness.ts';
import type { Component, Context, Json } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import type { StackComponent } from './model.ts';

const SETTLE_MS_MAX = 60_000;

const noteSchema = z.object({
  kind: z.string(),
  /** Of the service, as its probe says; null where it could not be asked. */
  identity: z.string().nullable(),
  what: z.custom<Json>(),
  process: processIdentitySchema.nullable(),
  noted_at: z.string(),
});

/** The component, whose restores note in `store` what they suspend until it is set back. */
export function noting(
  store: Store,
  { name, kind, component }: Pick<StackComponent, 'name' | 'kind' | 'component'>,
  identity: string | null,
): Component {
  if (!component.resume) return component;
  const noted: string[] = [];
  const strike = async (ctx: Context): Promise<void> => {
    for (const id of noted.splice(0)) {
      try {
        await store.records.delete(ctx, 'suspended', id);
      } catch (error) {
        ctx.log.warn('a note of what was suspended stays, and the next run sets it back again', reasonOf(name, error));
      }
    }
  };
  /** A store that takes no notes must not stand in the way of a restore. */
  const note = async (ctx: Context, what: Json): Promise<void> => {
    const id = `${name}/${randomUUID()}`;
    const owner = await identityOf(process.pid);
    try {
      const json = { kind, identity, what, process: owner, noted_at: ctx.now().toISOString() };
      await store.records.put(ctx, 'suspended', id, json);
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      ctx.log.warn('no note of what is suspended: who kills this restore sets it back by hand', reasonOf(name, error));
    }
    noted.push(id); // also one that may have come
  };
  return {
    ...component,
    async restore(ctx, chain, options) {
      try {
        const suspending = (what: Json): Promise<void> => note(ctx, what);
        const restored = await component.restore(ctx, chain, { ...options, suspending });
        const settle = async (within: Context): Promise<void> => {
          await restored.settle?.(within);
          await strike(within);
        };
        return { ...restored, settle };
      } catch (error) {
        await strike({ ...ctx, signal: AbortSignal.timeout(SETTLE_MS_MAX) }); // it has set it back itself
        throw error;
      }
    },
  };
}

function reasonOf(component: string, error: unknown): { component: string; reason: string } {
  return { component, reason: messageOf(error) };
}

/** Sets back what killed restores had suspended. What could not be is told, and tried again by the next run. */
export async function resumeSuspended(
  ctx: Context,
  stores: readonly { readonly store: Store }[],
  { name, kind, component }: Pick<StackComponent, 'name' | 'kind' | 'component'>,
): Promise<readonly string[]> {
  if (!component.resume) return [];
  const warnings: string[] = [];
  for (const { store } of stores) {
    for (const id of await Array.fromAsync(store.records.list(ctx, 'suspended', `${name}/`))) {
      try {
        const note = await readIfThere(ctx, store, id);
        if (note?.kind !== kind || !(await isGone(note.process, new Date(note.noted_at), ctx.now()))) continue;
        // Another target of a restore has another one: it is set back when that is restored to again.
        if (note.identity !== null && note.identity !== (await component.probe(ctx)).identity) continue;
        await component.resume(ctx, note.what);
        await store.records.delete(ctx, 'suspended', id);
        warnings.push(`${name}: what a restore that was killed had suspended is set back`);
      } catch (error) {
        if (ctx.signal.aborted) throw error;
        warnings.push(`${name}: what a restore that was killed had suspended is still so: ${messageOf(error)}`);
      }
    }
  }
  return warnings;
}

async function readIfThere(ctx: Context, { records }: Store, id: string): Promise<z.output<typeof noteSchema> | null> {
  try {
    return noteSchema.parse(await records.get(ctx, 'suspended', id));
  } catch (error) {
    if (isFailure(error, 'missing')) return null; // its restore has just ended
    throw error;
  }
}
