// What a run knows of itself and its finished components, kept in the stores until the point is committed, so that
// another process can go on after a crash.

import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { isFailure, messageOf } from '../core/errors.ts';
import { identityOf, processIdentitySchema, stateOf } from '../core/liveness.ts';
import { manifestJson, pointFrom } from '../core/manifest.ts';
import type { Context, Receipt } from '../core/model.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import type { DraftPlan, Store } from '../core/storage.ts';
import { alive, type Lane, onEach } from './fan-out.ts';
import type { NamedStore } from './model.ts';

/** Of a whole run. Its key is the id of the point; what is finished lies below that. */
const runSchema = z.object({
  stack: z.string(),
  plan: z.string().nullable(),
  components: z.array(z.object({ name: z.string(), kind: z.string() })),
  /** Null where a system can't tell one process from another. */
  process: processIdentitySchema.nullable(),
  noted_at: z.iso.datetime(),
  /** Of a run that another process has begun. */
  begun_at: z.iso.datetime().nullable().default(null),
});
export type RunNote = z.output<typeof runSchema>;

export async function noteRun(ctx: Context, lanes: readonly Lane[], id: string, run: Run): Promise<void> {
  const note = await ownNote(ctx, run);
  await onEach(ctx, lanes, ({ store }) => store.records.put(ctx, 'captures', id, note));
}

type Run = DraftPlan & { readonly plan: string | null };

/** What is copied into one store is a run of its own there, of which nothing but its process is noted. */
export async function noteCopy(
  ctx: Context,
  { store }: Pick<NamedStore, 'store'>,
  id: string,
  run: Run,
): Promise<void> {
  await store.records.put(ctx, 'captures', id, await ownNote(ctx, run));
}

async function ownNote(ctx: Context, { stack, plan, components }: Run): Promise<RunNote> {
  const named = components.map(({ name, kind }) => ({ name, kind }));
  const noted = ctx.now().toISOString();
  return { stack, plan, components: named, process: await identityOf(process.pid), noted_at: noted, begun_at: null };
}

/** Two that find the same dead process note themselves within this time. */
const TAKING_MS_MAX = 1000;

/** The run is this process' own from now on; false when another one has taken it over at the same time. */
export async function takeOver(ctx: Context, lanes: readonly Lane[], id: string): Promise<boolean> {
  const own = await identityOf(process.pid);
  await onEach(ctx, lanes, async ({ store }) => {
    const note = await readRun(ctx, store, id);
    if (!note) return;
    const [noted_at, begun_at] = [ctx.now().toISOString(), note.begun_at ?? note.noted_at];
    await store.records.put(ctx, 'captures', id, { ...note, process: own, noted_at, begun_at });
  });
  await ctx.sleep(TAKING_MS_MAX);
  const notes = await onEach(ctx, lanes, async ({ store }) => await readRun(ctx, store, id));
  return [...notes.values()].every((note) => note === null || isDeepStrictEqual(note.process, own));
}

/** Whether the process of an unfinished run is gone, or is this one. Null when no run of that id is noted here. */
export async function stateOfRun(
  ctx: Context,
  { store }: Pick<NamedStore, 'store'>,
  id: string,
): Promise<{ readonly note: RunNote; readonly state: 'alive' | 'dead' | 'unknown'; readonly own: boolean } | null> {
  const note = await readRun(ctx, store, id);
  if (!note) return null;
  if (!note.process) return { note, state: 'unknown', own: false };
  const own = isDeepStrictEqual(note.process, await identityOf(process.pid));
  return { note, state: await stateOf(note.process, new Date(note.noted_at)), own };
}

async function readRun(ctx: Context, store: Store, id: string): Promise<RunNote | null> {
  try {
    const parsed = runSchema.safeParse(await store.records.get(ctx, 'captures', id));
    return parsed.success ? parsed.data : null;
  } catch (error) {
    // Without a note that can be read there is nothing to go on with.
    if (isFailure(error, 'missing') || isFailure(error, 'checksum') || isFailure(error, 'malformed')) return null;
    throw error;
  }
}

/** Runs whose process is gone and that left finished components: ids, and how many of each. */
export async function abandonedRuns(
  ctx: Context,
  from: Pick<NamedStore, 'store'>,
): Promise<readonly { readonly id: string; readonly finished: number }[]> {
  const finished = new Map<string, number>();
  for await (const key of from.store.records.list(ctx, 'captures')) {
    const [id = key, component] = key.split('/');
    finished.set(id, (finished.get(id) ?? 0) + (component === undefined ? 0 : 1));
  }
  const found: { id: string; finished: number }[] = [];
  for (const [id, count] of finished) {
    if (count > 0 && (await stateOfRun(ctx, from, id))?.state === 'dead') found.push({ id, finished: count });
  }
  return found;
}

/** One component of a run: what goes into the manifest, and the receipts of the stores that took its parts. */
export interface Captured {
  readonly name: string;
  readonly component: CapturedComponent;
  readonly receipts: ReadonlyMap<Lane, Receipt>;
  /** What was thrown when `component.error` is set. */
  readonly thrown?: unknown;
}

/** A point of one component stands for it: the manifest's schema then serves for both. */
export async function noteCapture(
  ctx: Context,
  lanes: readonly Lane[],
  point: Omit<RecoveryPoint, 'components'>,
  { name, component }: Captured,
): Promise<void> {
  const json = manifestJson({ ...point, components: { [name]: component } });
  await onEach(ctx, lanes, ({ store }) => store.records.put(ctx, 'captures', `${point.id}/${name}`, json));
}

/** The components of an interrupted run that every store of it had finished. */
export async function finishedCaptures(
  ctx: Context,
  lanes: readonly Lane[],
  id: string,
): Promise<ReadonlyMap<string, Captured>> {
  const kept = await onEach(ctx, lanes, async ({ store }) => {
    const receipts = new Map((await store.receipts(ctx, id)).map((receipt) => [receipt.component, receipt]));
    const components = new Map<string, CapturedComponent>();
    for await (const key of store.records.list(ctx, 'captures', `${id}/`)) {
      const json = await store.records.get(ctx, 'captures', key);
      for (const [name, each] of Object.entries(pointFrom(json, `draft ${id}`).components)) {
        if (receipts.has(name)) components.set(name, each);
      }
    }
    return { receipts, components };
  });
  const [first] = kept.values();
  const found = new Map<string, Captured>();
  for (const [name, component] of first?.components ?? []) {
    if (![...kept.values()].every(({ components }) => components.has(name))) continue;
    const receipts = [...kept].flatMap(([lane, { receipts: own }]) => {
      const receipt = own.get(name);
      return receipt ? [[lane, receipt] as const] : [];
    });
    found.set(name, { name, component, receipts: new Map(receipts) });
  }
  return found;
}

/** The run has ended, well or not: nothing of it is to be resumed. */
export async function forgetCaptures(ctx: Context, lanes: readonly Lane[], id: string): Promise<void> {
  for (const lane of alive(lanes)) await forgetCapturesIn(ctx, lane, id);
}

export async function forgetCapturesIn(ctx: Context, { name, store }: NamedStore, id: string): Promise<void> {
  try {
    const keys = await Array.fromAsync(store.records.list(ctx, 'captures', `${id}/`));
    for (const key of [id, ...keys]) await store.records.delete(ctx, 'captures', key);
  } catch (error) {
    // A note of a point that exists is never read again; a store that forbids deletion keeps it.
    ctx.log.debug('capture notes left behind', { store: name, point: id, reason: messageOf(error) });
  }
}
