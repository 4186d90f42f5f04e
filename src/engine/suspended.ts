// What a restore has suspended of a service (retention, lifecycles) is noted in the store that it restores from before
// it is suspended, and struck when it is set back: a restore that is killed, or whose service was gone when it was to
// be set back, leaves the note, and the next run with that component does it.

import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Component } from '../core/component.ts';
import { outliving } from '../core/context.ts';
import { messageOf } from '../core/errors.ts';
import { identityOf, isGone, processIdentitySchema } from '../core/liveness.ts';
import type { Context, Json } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import type { NamedStore, StackComponent } from './model.ts';
import { readNote, strikeNote } from './notes.ts';

const KIND = 'suspended';
/** Its driver has just tried as long as it thought right. */
const SET_BACK_MS_MAX = 10_000;

const noteSchema = z.object({
  kind: z.string(),
  /** Of the service, as its probe says; null where it could not be asked. */
  identity: z.string().nullable(),
  what: z.custom<Json>(),
  process: processIdentitySchema.nullable(),
  noted_at: z.string(),
  /** The restore has ended and could not set it back, whatever became of its process. */
  ended: z.boolean().default(false),
});
type Suspending = Pick<StackComponent, 'name' | 'kind' | 'component'>;

/** The component, whose restores note in `store` what they suspend until it is set back. */
export function noting(store: Store, item: Suspending, identity: string | null): Component {
  const { component } = item;
  if (!component.resume) return component;
  return {
    ...component,
    async restore(ctx, chain, options) {
      const notes = notesOf(store, item, identity);
      try {
        const suspending = (what: Json): Promise<void> => notes.add(ctx, what);
        const restored = await component.restore(ctx, chain, { ...options, suspending });
        const settle = async (within: Context): Promise<void> => {
          try {
            await restored.settle?.(within);
          } catch (error) {
            await notes.leave(within);
            throw error;
          }
          await notes.strike(within);
        };
        return { ...restored, settle };
      } catch (error) {
        await notes.setBack(ctx);
        throw error;
      }
    },
  };
}

interface Notes {
  add(ctx: Context, what: Json): Promise<void>;
  strike(ctx: Context): Promise<void>;
  /** They are for the next run, also while this process lives. */
  leave(ctx: Context): Promise<void>;
  /**
   * Of a restore that failed. It has tried so itself, but the service may have been gone by then, or have done what it
   * was asked without its answer arriving.
   */
  setBack(ctx: Context): Promise<void>;
}

function notesOf(store: Store, { name, kind, component }: Suspending, identity: string | null): Notes {
  const noted = new Map<string, Json>();
  const put = async (ctx: Context, id: string, what: Json, ended: boolean): Promise<void> => {
    const owner = await identityOf(process.pid);
    const note = { kind, identity, what, process: owner, noted_at: ctx.now().toISOString(), ended };
    await store.records.put(ctx, KIND, id, note);
  };
  const tell = (ctx: Context, text: string, error: unknown): void =>
    ctx.log.warn(text, { component: name, reason: messageOf(error) });
  const strike = async (ctx: Context, id: string): Promise<void> => {
    await strikeNote(ctx, store, { kind: KIND, id });
    noted.delete(id);
  };
  const leave = async (ctx: Context, id: string, what: Json): Promise<void> => {
    try {
      await put(patient(ctx), id, what, true);
    } catch (error) {
      tell(ctx, 'no note of what is still suspended: set it back by hand', error);
    }
  };
  return {
    async add(ctx, what) {
      const id = `${name}/${randomUUID()}`;
      noted.set(id, what); // before it is tried: it may come without an answer
      try {
        await put(ctx, id, what, false);
      } catch (error) {
        if (ctx.signal.aborted) throw error;
        // A store that takes no notes must not stand in the way of a restore.
        tell(ctx, 'no note of what is suspended: who kills this restore sets it back by hand', error);
      }
    },
    async strike(ctx) {
      for (const id of [...noted.keys()]) await strike(ctx, id);
    },
    async leave(ctx) {
      for (const [id, what] of noted) await leave(ctx, id, what);
    },
    async setBack(ctx) {
      const within = patient(ctx);
      for (const [id, what] of [...noted]) {
        try {
          await component.resume?.(within, what);
          await strike(ctx, id);
        } catch (error) {
          tell(ctx, 'what was suspended is still so: the next backup or restore of the component sets it back', error);
          await leave(ctx, id, what);
        }
      }
    },
  };
}

/** Also for a user who has broken off. */
function patient(ctx: Context): Context {
  return outliving(ctx, SET_BACK_MS_MAX);
}

export interface Resumed {
  readonly warnings: readonly string[];
  /** Nothing is known to be still suspended. */
  readonly complete: boolean;
}

/**
 * Sets back what earlier restores had suspended and could not set back themselves. What still can't be is told, and
 * tried again by the next run.
 */
export async function resumeSuspended(
  ctx: Context,
  given: readonly NamedStore[],
  items: readonly Suspending[],
): Promise<Resumed> {
  const stores = new Map(given.map(({ name, store }) => [name, store]));
  const warnings: string[] = [];
  let complete = true;
  for (const item of items.filter(({ component }) => component.resume)) {
    for (const [name, store] of stores) {
      try {
        for (const id of await Array.fromAsync(store.records.list(ctx, KIND, `${item.name}/`))) {
          const text = await resumeNoted(ctx, store, id, item);
          if (text === null) continue;
          warnings.push(`${item.name}: what an earlier restore had suspended is ${text.said}`);
          complete &&= text.done;
        }
      } catch (error) {
        if (ctx.signal.aborted) throw error;
        // What is wrong with a store shows itself where it is needed.
        ctx.log.warn('a store does not tell what restores have suspended', { store: name, reason: messageOf(error) });
      }
    }
  }
  return { warnings, complete };
}

/** Null when there is nothing to do. */
async function resumeNoted(
  ctx: Context,
  store: Store,
  id: string,
  { kind, component }: Suspending,
): Promise<{ readonly said: string; readonly done: boolean } | null> {
  const note = await readNote(ctx, store, { kind: KIND, id }, noteSchema);
  if (note?.kind !== kind) return null;
  if (!note.ended && !(await isGone(note.process, new Date(note.noted_at), ctx.now()))) return null;
  try {
    // Another target of a restore has another one: it is set back when that is restored to again.
    if (note.identity !== null && note.identity !== (await component.probe(ctx)).identity) return null;
    await component.resume?.(ctx, note.what);
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { said: `still so: ${messageOf(error)}`, done: false };
  }
  await strikeNote(ctx, store, { kind: KIND, id });
  return { said: 'set back', done: true };
}
