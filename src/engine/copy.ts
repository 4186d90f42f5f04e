// From store to store, without touching the services that were captured.

import { byteOrder } from '../core/bytes.ts';
import { interruption } from '../core/context.ts';
import type { Driver, PartForm } from '../core/driver.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { manifestJson } from '../core/manifest.ts';
import type { Bytes, Context, Part, PartMeta, Receipt, Rendition, Source } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { Draft, DraftPlan, Store } from '../core/storage.ts';
import { forgetCapturesIn, noteCopy, stateOfRun } from './captures.ts';
import { heldBy, type NamedStore, SAFETY_PLAN } from './model.ts';
import { PARTS_PART, partNotes, putPartList } from './parts.ts';
import { proofsOf, provedAt, putProof } from './proofs.ts';

/** Parts of one component that travel at the same time. */
const PARTS_AT_ONCE = 8;

/** By kind. A kind without a driver is copied as it lies. */
export type Drivers = ReadonlyMap<string, Driver>;

export interface Copied {
  readonly point: string;
  /** Null when the point is there now. */
  readonly error: unknown;
  /** False when the destination held the same point already. */
  readonly moved: boolean;
  /** Components whose data lies outside the stores: the copy names it as the original does, and it was not copied. */
  readonly outside: readonly string[];
}

/** Brings `points` (all that `from` holds when left out) into `to`, oldest first. One that fails stops no other. */
export async function copyPoints(
  ctx: Context,
  request: {
    readonly from: NamedStore;
    readonly to: NamedStore;
    readonly points?: readonly string[] | undefined;
    readonly drivers: Drivers;
  },
): Promise<readonly Copied[]> {
  const { from, to } = request;
  const [held, there] = await Promise.all([byId(ctx, from.store), byId(ctx, to.store)]);
  const results: Copied[] = [];
  for (const id of request.points ?? held.keys()) {
    const point = held.get(id);
    if (!point) throw new Failure('missing', `store ${from.name} has no point ${id}`);
    const outside = heldBy(point).filter((name) => point.components[name]?.external !== null);
    try {
      const moved = await copyPoint(ctx, { from, to, point, there: there.get(id), drivers: request.drivers });
      results.push({ point: id, error: null, moved, outside });
    } catch (error) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      results.push({ point: id, error, moved: false, outside });
    }
  }
  return results;
}

/** False when `there`, the destination's point of that id, is the same one already. */
export async function copyPoint(
  ctx: Context,
  request: {
    readonly from: NamedStore;
    readonly to: NamedStore;
    readonly point: RecoveryPoint;
    readonly there: RecoveryPoint | undefined;
    readonly drivers: Drivers;
  },
): Promise<boolean> {
  const { from, to, point, there } = request;
  if (there) {
    if (same(point, there)) return false;
    throw new Failure('exists', `store ${to.name} holds another point ${point.id} than store ${from.name}`);
  }
  const names = heldBy(point);
  const components = names.map((name) => ({ name, kind: point.components[name]?.kind ?? '' }));
  const aside = point.plan === SAFETY_PLAN;
  await using draft = await beginCopy(ctx, to, point, { stack: point.stack, components, aside });
  const receipts: Receipt[] = [];
  for (const { name, kind } of components) {
    receipts.push(await copyComponent(ctx, from.store, draft, point, name, request.drivers.get(kind)));
  }
  await to.store.commit(ctx, draft, point, receipts);
  await forgetCapturesIn(ctx, to, point.id);
  const proofs = (await proofsOf(ctx, from.store, point.id)).get(point.id);
  if (proofs && provedAt(point, proofs.read) !== null) {
    await putProof(ctx, to.store, { point: point.id, how: 'copy', components: [...names], source: from.name });
  }
  return true;
}

/** Takes up the draft of a run or a copy that has ended for certain: one that is dead, or an earlier one of our own. */
async function beginCopy(ctx: Context, to: NamedStore, point: RecoveryPoint, plan: DraftPlan): Promise<Draft> {
  const earlier = await stateOfRun(ctx, to, point.id);
  const ended = earlier !== null && (earlier.state === 'dead' || earlier.own);
  if (earlier?.state === 'alive' && !ended) {
    throw new Failure('locked', `point ${point.id} is being written to store ${to.name}`, { hint: 'wait for it' });
  }
  const note = (): Promise<void> => noteCopy(ctx, to, point.id, { ...plan, plan: point.plan });
  if (earlier === null || ended) await note();
  try {
    await using undo = new AsyncDisposableStack();
    const draft = undo.use(await to.store.begin(ctx, point.id, plan));
    if (earlier !== null && !ended) await note(); // what that run began is gone, and this is ours
    undo.move();
    return draft;
  } catch (error) {
    if (!isFailure(error, 'exists')) throw error;
    if (ended) return await to.store.resume(ctx, point.id);
    // Beside the draft of somebody unknown our note would let the next copy take it for ours.
    if (earlier === null) await forgetCapturesIn(ctx, to, point.id);
    throw error;
  }
}

async function copyComponent(
  ctx: Context,
  from: Store,
  draft: Draft,
  point: RecoveryPoint,
  name: string,
  driver: Driver | undefined,
): Promise<Receipt> {
  const source = await from.open(ctx, point.id, name);
  const version = point.components[name]?.serverVersion ?? '';
  const forms = driver?.renditions?.(ctx, source, version);
  const sink = draft.sink(name);
  await using notes = partNotes(ctx);
  let bytes = 0;
  const total = point.components[name]?.parts.bytes;
  await mapBounded(partsWithForms(ctx, source, forms), PARTS_AT_ONCE, async ({ part, rendition }) => {
    if (part.name === PARTS_PART) return; // written anew: digests are each store's own
    const body = counted(source.get(ctx, part.name), (more) => {
      bytes += more;
      ctx.progress({ task: name, phase: 'copy', bytes, ...(total === undefined ? {} : { bytesTotal: total }) });
    });
    await notes.add([await sink.put(ctx, part.name, body, metaOf(part, rendition))]);
  });
  // A point that the old scripts made has no part list, and gets none: it would vouch for what nobody saw.
  if (await hasPartList(ctx, source)) await putPartList(ctx, sink, notes);
  return await sink.receipt(ctx);
}

/** Both come in byte order of part. */
async function* partsWithForms(
  ctx: Context,
  source: Source,
  forms: AsyncIterable<PartForm> = noForms(),
): AsyncIterable<{ readonly part: Part; readonly rendition: Rendition | undefined }> {
  const iterator = forms[Symbol.asyncIterator]();
  try {
    let next = await iterator.next();
    for await (const part of source.parts(ctx)) {
      while (!next.done && byteOrder(next.value.part, part.name) < 0) next = await iterator.next();
      const form = next.done || next.value.part !== part.name ? undefined : next.value;
      yield { part, rendition: form?.rendition };
    }
  } finally {
    await iterator.return?.();
  }
}

async function* noForms(): AsyncIterable<PartForm> {}

function metaOf({ attributes, inPlace }: Part, rendition: Rendition | undefined): PartMeta {
  return {
    ...(attributes ? { attributes } : {}),
    ...(rendition ? { rendition } : {}),
    ...(inPlace ? { inPlace } : {}),
  };
}

async function hasPartList(ctx: Context, source: Source): Promise<boolean> {
  try {
    await source.part(ctx, PARTS_PART);
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  }
}

async function byId(ctx: Context, store: Store): Promise<ReadonlyMap<string, RecoveryPoint>> {
  const points = new Map<string, RecoveryPoint>();
  for await (const point of store.list(ctx)) points.set(point.id, point);
  return points;
}

function same(a: RecoveryPoint, b: RecoveryPoint): boolean {
  return JSON.stringify(manifestJson(a)) === JSON.stringify(manifestJson(b));
}

async function* counted(body: Bytes, count: (bytes: number) => void): Bytes {
  for await (const chunk of body) {
    count(chunk.length);
    yield chunk;
  }
}
