// Walks an RDB in a thread of its own while its bytes go where they go.

import { Worker } from 'node:worker_threads';
import { interruption } from '../../core/context.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { limitYoung } from '../../core/thread.ts';
import { ANSWERED, type FromWalker, type Job, type Outputs, type Result, SENT, type ToWalker } from './rdb/job.ts';

const CHUNK_BYTES = 256 * 1024;
/** Filled chunks that the thread has not taken yet. */
const CHUNKS_MAX = 8;
/** The thread's own: an element that is held whole lies outside of it. */
const HEAP_MIB_MAX = 256;
/** As for the process: objects are made all the time. */
const YOUNG_MIB = 8;

export interface Walk extends AsyncDisposable {
  /** Passes the bytes on and has them walked. Ends only when the whole RDB was found well; throws what is wrong. */
  through(body: Bytes): Bytes;
  /** What was found; resolves after the bytes have ended. */
  result(): Promise<Result>;
}

/** `onOutput` is called with one output after the other; while it is busy the walk waits. */
export function startWalk(
  ctx: Context,
  job: Job,
  onOutput: (output: Outputs) => Promise<void> | void = () => {},
): Walk {
  const words = new Int32Array(new SharedArrayBuffer(8));
  limitYoung(YOUNG_MIB);
  const worker = new Worker(new URL('./rdb/walk.worker.ts', import.meta.url), {
    workerData: { job, words },
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
  });
  const free: Uint8Array[] = [];
  let chunks = 0;
  let wake = (): void => {};
  let outputs: Promise<void> = Promise.resolve();
  const ended = Promise.withResolvers<Result>();
  let failed: { error: unknown } | null = null;
  let finished = false;
  ended.promise.catch(() => {}); // told to whoever feeds or asks for the result

  function fail(error: unknown): void {
    failed ??= { error };
    ended.reject(error);
    wake();
  }
  const onAbort = (): void => fail(interruption(ctx.signal));
  ctx.signal.addEventListener('abort', onAbort, { once: true });
  worker.on('error', fail);
  worker.on('exit', () => {
    if (!finished) fail(new Error('the thread that walks the RDB ended'));
  });
  worker.on('message', (message: FromWalker) => {
    if ('taken' in message) {
      free.push(message.taken);
      wake();
    } else if ('output' in message) {
      outputs = outputs.then(() => onOutput(message.output)).then(() => answer(words), fail);
    } else if ('result' in message) {
      finished = true;
      void outputs.then(() => ended.resolve(message.result));
    } else if ('failure' in message) {
      const { code, message: text, hint } = message.failure;
      fail(new Failure(code, text, { hint }));
    } else fail(message.bug);
  });

  function send(message: ToWalker, transfer: ArrayBuffer[] = []): void {
    worker.postMessage(message, transfer);
    Atomics.add(words, SENT, 1);
    Atomics.notify(words, SENT);
  }
  async function emptyChunk(): Promise<Uint8Array> {
    while (!failed && free.length === 0 && chunks === CHUNKS_MAX) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (failed) throw failed.error;
    const chunk = free.pop();
    if (chunk) return new Uint8Array(chunk.buffer);
    chunks += 1;
    return new Uint8Array(CHUNK_BYTES);
  }
  async function* through(body: Bytes): Bytes {
    for await (const chunk of collected(body, emptyChunk)) {
      yield chunk; // lent to whoever stores it, then given away
      send({ chunk }, [chunk.buffer as ArrayBuffer]);
    }
    send({ end: true });
    await ended.promise;
  }
  return {
    through,
    result: () => ended.promise,
    async [Symbol.asyncDispose]() {
      ctx.signal.removeEventListener('abort', onAbort);
      fail(new Error('the walk was given up'));
      await worker.terminate();
    },
  };
}

/** The same bytes in full chunks: each byte is copied once, and costs what a large piece does. */
async function* collected(body: Bytes, emptyChunk: () => Promise<Uint8Array>): AsyncIterable<Uint8Array> {
  let filling = await emptyChunk();
  let used = 0;
  for await (const piece of body) {
    for (let at = 0; at < piece.length; ) {
      const step = Math.min(piece.length - at, CHUNK_BYTES - used);
      filling.set(piece.subarray(at, at + step), used);
      used += step;
      at += step;
      if (used < CHUNK_BYTES) continue;
      yield filling;
      filling = await emptyChunk();
      used = 0;
    }
  }
  if (used > 0) yield filling.subarray(0, used);
}

/** Walks all of a body that goes nowhere else. */
export async function walkThrough(
  ctx: Context,
  body: Bytes,
  job: Job,
  onOutput?: (output: Outputs) => Promise<void> | void,
): Promise<Result> {
  await using walk = startWalk(ctx, job, onOutput);
  for await (const _ of walk.through(body)) {
    // The walk has seen it.
  }
  return await walk.result();
}

function answer(words: Int32Array): void {
  Atomics.add(words, ANSWERED, 1);
  Atomics.notify(words, ANSWERED);
}
