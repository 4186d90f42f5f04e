// What a driver puts goes to all stores of the run from one read. A store that fails is dropped and the others finish;
// only when none is left does the capture fail.

import { bytesOf, wholeOf } from '../core/bytes.ts';
import { interruption } from '../core/context.ts';
import { ERRORS, Failure, isFailure } from '../core/errors.ts';
import { keepAll, keepBy, only, putAll } from '../core/many-parts.ts';
import type { Bytes, Context, KeptPart, Part, Receipt, Sink, Source } from '../core/model.ts';
import { gate } from '../core/parallel.ts';
import type { Draft, Store } from '../core/storage.ts';
import { type PartNotes, partNotes, putPartList } from './parts.ts';
import { split } from './split.ts';

/** A body up to this size is read once and given to each store by itself, so no store waits for another. */
const SMALL_BYTES_MAX = 256 * 1024;
/** Streams in step at a time. Low, so that no store's own bound can make two of them wait for each other. */
const STREAMS_MAX = 4;

/** One store of a run. */
export interface Lane {
  readonly name: string;
  readonly store: Store;
  readonly draft: Draft;
  /** Set once, when it is dropped. */
  failed: { readonly error: unknown } | undefined;
}

export interface ComponentSink extends AsyncDisposable {
  /** For the driver. */
  readonly sink: Sink;
  /** Adds the part list and waits until everything is durable; the receipts of the stores that are still there. */
  finish(ctx: Context): Promise<ReadonlyMap<Lane, Receipt>>;
  /** What the driver put, as it put it. */
  totals(): { readonly count: number; readonly bytes: number };
}

/** The bound on streams in step, shared by the components of a run. */
export type StreamGate = ReturnType<typeof gate>;
export function streamGate(): StreamGate {
  return gate(STREAMS_MAX);
}

export function alive(lanes: readonly Lane[]): readonly Lane[] {
  return lanes.filter(({ failed }) => failed === undefined);
}

/** Throws why the last store was dropped when none is left. */
export function needLane(lanes: readonly Lane[]): void {
  if (alive(lanes).length > 0) return;
  throw lanes.findLast(({ failed }) => failed)?.failed?.error ?? new Failure('missing', 'no store to write to');
}

/**
 * Runs `work` for each store that is left; those where it fails are dropped, unless `broken` says that what was given
 * to them broke.
 */
export async function onEach<R>(
  ctx: Context,
  lanes: readonly Lane[],
  work: (lane: Lane, at: number) => Promise<R>,
  broken: () => { readonly error: unknown } | undefined = () => undefined,
): Promise<ReadonlyMap<Lane, R>> {
  needLane(lanes);
  const live = alive(lanes);
  const [only] = live;
  if (live.length === 1 && only) return await onOnly(ctx, only, work, broken);
  const settled = await Promise.allSettled(live.map(work));
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const blame = broken();
  if (blame) throw blame.error;
  const results = new Map<Lane, R>();
  for (const [at, lane] of live.entries()) {
    const result = settled[at];
    if (result?.status === 'fulfilled') results.set(lane, result.value);
    else drop(ctx, lane, result?.reason);
  }
  needLane(lanes);
  return results;
}

/** Most runs have one store, and each of many small parts comes here. */
async function onOnly<R>(
  ctx: Context,
  lane: Lane,
  work: (lane: Lane, at: number) => Promise<R>,
  broken: () => { readonly error: unknown } | undefined,
): Promise<ReadonlyMap<Lane, R>> {
  let settled: { readonly result: R } | { readonly error: unknown };
  try {
    settled = { result: await work(lane, 0) };
  } catch (error) {
    settled = { error };
  }
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const blame = broken();
  if (blame) throw blame.error;
  if ('result' in settled) return new Map([[lane, settled.result]]);
  drop(ctx, lane, settled.error);
  throw settled.error;
}

/**
 * `previous` are the same earlier point's sources by store, for what is kept without being read again; `expectedBytes`
 * is how much that point held, to tell how far this one is.
 */
export function componentSink(
  ctx: Context,
  component: string,
  lanes: readonly Lane[],
  streams: StreamGate,
  previous: ReadonlyMap<Lane, Source>,
  expectedBytes: number | undefined,
): ComponentSink {
  const outlets = new Map<Lane, Outlet>(
    lanes.map((lane) => [lane, { sink: lane.draft.sink(component), notes: partNotes(ctx) }]),
  );
  let [count, bytes] = [0, 0];
  let seen = 0; // like `bytes`, and what has passed of the parts that are still being put

  function tell(added: number): void {
    seen += added;
    const total = expectedBytes === undefined || seen > expectedBytes ? {} : { bytesTotal: expectedBytes };
    ctx.progress({ task: component, phase: 'capture', bytes: seen, items: count, ...total });
  }
  async function accepted(
    taken: ReadonlyMap<Lane, readonly Part[] | undefined>,
    added: number,
  ): Promise<readonly Part[]> {
    for (const [lane, parts] of taken) if (parts) await outletOf(outlets, lane).notes.add(parts);
    const parts = first(taken);
    count += parts.length;
    bytes += added;
    return parts;
  }
  async function keepEach(putCtx: Context, parts: readonly KeptPart[]): Promise<readonly Part[]> {
    let damaged: Failure | undefined;
    const taken = await onEach(putCtx, lanes, async (lane) => {
      try {
        return await keepAll(putCtx, outletOf(outlets, lane).sink, ownParts(previous.get(lane), parts));
      } catch (error) {
        if (!isFailure(error) || !ERRORS[error.code].lost) throw error;
        damaged ??= error;
        return undefined;
      }
    });
    // It is the earlier point that is damaged, and not the store that is down.
    if (damaged) throw damaged;
    const added = parts.reduce((sum, { from }) => sum + from.bytes, 0);
    tell(added);
    return await accepted(taken, added);
  }

  const sink: Sink = {
    async put(putCtx, name, body, meta) {
      const putOn = async (lane: Lane, branch: Bytes): Promise<readonly Part[]> => [
        await outletOf(outlets, lane).sink.put(putCtx, name, branch, meta),
      ];
      const whole = wholeOf(body);
      if (whole) {
        const taken = await onEach(putCtx, lanes, (lane) => putOn(lane, body));
        tell(whole.length);
        return only(await accepted(taken, whole.length));
      }
      const reading = readingOf(body, tell);
      const taken = await putOnEach(putCtx, lanes, streams, reading, putOn);
      return only(await accepted(taken, reading.bytes()));
    },
    async putAll(putCtx, parts) {
      const taken = await onEach(putCtx, lanes, (lane) => putAll(putCtx, outletOf(outlets, lane).sink, parts));
      const added = parts.reduce((sum, { whole }) => sum + whole.length, 0);
      tell(added);
      return await accepted(taken, added);
    },
    keep: keepBy(keepEach),
    keepAll: keepEach,
    receipt: () => Promise.reject(new Error('the engine takes the receipt, not the driver')),
  };

  return {
    sink,
    async finish(finishCtx) {
      return await onEach(finishCtx, lanes, async (lane) => {
        const outlet = outletOf(outlets, lane);
        await putPartList(finishCtx, outlet.sink, outlet.notes);
        return await outlet.sink.receipt(finishCtx);
      });
    },
    totals: () => ({ count, bytes }),
    async [Symbol.asyncDispose]() {
      for (const { notes } of outlets.values()) await notes[Symbol.asyncDispose]();
    },
  };
}

interface Outlet {
  readonly sink: Sink;
  /** What this store took: digests are its own. */
  readonly notes: PartNotes;
}

function outletOf(outlets: ReadonlyMap<Lane, Outlet>, lane: Lane): Outlet {
  const outlet = outlets.get(lane);
  if (!outlet) throw new Error(`${lane.name} is no store of this run`);
  return outlet;
}

/** Gives the body to each store that is left. What the body itself throws is thrown, and drops no store. */
async function putOnEach(
  ctx: Context,
  lanes: readonly Lane[],
  streams: StreamGate,
  { body, broken }: Reading,
  put: (lane: Lane, branch: Bytes) => Promise<readonly Part[]>,
): Promise<ReadonlyMap<Lane, readonly Part[]>> {
  if (alive(lanes).length === 1) return await onEach(ctx, lanes, (lane) => put(lane, body), broken);
  const { head, rest } = await headOf(body, SMALL_BYTES_MAX);
  if (!rest) return await onEach(ctx, lanes, (lane) => put(lane, bytesOf(head)));
  return await streams.run(async () => {
    const { branches, leave } = split(joined(head, rest), alive(lanes).length);
    const inStep = async (lane: Lane, at: number): Promise<readonly Part[]> => {
      try {
        return await put(lane, branches[at] ?? bytesOf(head));
      } finally {
        leave(at);
      }
    };
    return await onEach(ctx, lanes, inStep, broken);
  });
}

function drop(ctx: Context, lane: Lane, error: unknown): void {
  if (lane.failed) return;
  lane.failed = { error };
  ctx.log.warn('store dropped from this run', {
    store: lane.name,
    reason: error instanceof Error ? error.message : String(error),
  });
}

/** The same parts in another store's copy of the point, where they may have plain names. */
function ownParts(source: Source | undefined, parts: readonly KeptPart[]): readonly KeptPart[] {
  const [part] = parts;
  if (part && !source) {
    const { point, component, name } = part.from;
    throw new Failure('missing', `${point}/${component}/${name} is not in every store`);
  }
  if (parts.every(({ meta }) => !meta?.rendition)) return parts;
  return parts.map((each) => ({ ...each, from: { ...each.from, name: each.meta?.rendition?.name ?? each.from.name } }));
}

function first(taken: ReadonlyMap<Lane, readonly Part[] | undefined>): readonly Part[] {
  const [parts] = taken.values();
  if (!parts) throw new Error('parts that no store took');
  return parts;
}

/** A body that is being read: how much of it, and whether it broke. */
interface Reading {
  readonly body: Bytes;
  bytes(): number;
  broken(): { readonly error: unknown } | undefined;
}

function readingOf(inner: Bytes, onBytes: (bytes: number) => void): Reading {
  let bytes = 0;
  let broken: { error: unknown } | undefined;
  async function* body(): Bytes {
    const chunks = inner[Symbol.asyncIterator]();
    try {
      for (;;) {
        const chunk = await chunks.next().catch((error: unknown) => {
          broken = { error };
          throw error;
        });
        if (chunk.done) return;
        bytes += chunk.value.length;
        onBytes(chunk.value.length);
        yield chunk.value;
      }
    } finally {
      if (!broken) await chunks.return?.();
    }
  }
  return { body: body(), bytes: () => bytes, broken: () => broken };
}

/** Reads up to `bytesMax`; `rest` is undefined when that was all. */
async function headOf(body: Bytes, bytesMax: number): Promise<{ head: Buffer; rest: Bytes | undefined }> {
  const iterator = body[Symbol.asyncIterator]();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const result = await iterator.next();
    if (result.done) return { head: Buffer.concat(chunks, bytes), rest: undefined };
    chunks.push(Buffer.from(result.value)); // copies: chunks are borrowed
    bytes += result.value.length;
    if (bytes > bytesMax)
      return { head: Buffer.concat(chunks, bytes), rest: { [Symbol.asyncIterator]: () => iterator } };
  }
}

async function* joined(head: Uint8Array, rest: Bytes): Bytes {
  yield head;
  yield* rest;
}
