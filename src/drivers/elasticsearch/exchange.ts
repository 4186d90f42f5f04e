// One request and its answer over a connection that stays open, received into memory of the caller's choice.

import type { Dispatcher, Pool } from 'undici';
import { type ReusedMemory, releaseLarge } from '../../core/bytes.ts';

export interface Exchange {
  readonly options: Dispatcher.DispatchOptions;
  readonly signal: AbortSignal;
  readonly memory: ReusedMemory;
  readonly bytesMax: number;
  /** What is thrown when more comes. */
  readonly tooLarge: () => Error;
}
export interface Exchanged {
  readonly status: number;
  /** In the memory that was given. */
  readonly body: Buffer;
}

/** Rejects with what the connection says, or with the reason of the signal. */
export async function exchange(pool: Pool, { options, signal, ...into }: Exchange): Promise<Exchanged> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Exchanged>();
  let controller: Dispatcher.DispatchController | undefined;
  const abort = (): void => {
    controller?.abort(signal.reason as Error);
    reject(signal.reason);
  };
  signal.addEventListener('abort', abort);
  const receiving = received(into);
  let status = 0;
  pool.dispatch(options, {
    onRequestStart(given) {
      controller = given;
      if (signal.aborted) abort();
    },
    onResponseStart(_controller, code) {
      status = code;
    },
    onResponseData: (given, chunk) => receiving.take(given, chunk),
    onResponseEnd: () => resolve({ status, body: receiving.end() }),
    onResponseError: (_controller, error) => reject(error),
  });
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/**
 * What the socket has read into is freed as soon as it is copied: the collector counts it as its own, and would go over
 * the whole heap again for every few pages.
 */
function received({ memory, bytesMax, tooLarge }: Pick<Exchange, 'memory' | 'bytesMax' | 'tooLarge'>) {
  let bytes = 0;
  let body = memory.room(0);
  let last: Buffer | undefined;
  return {
    take(controller: Dispatcher.DispatchController, chunk: Buffer): void {
      if (bytes + chunk.length > bytesMax) {
        controller.abort(tooLarge());
        return;
      }
      body = memory.room(bytes + chunk.length, bytes);
      bytes += chunk.copy(body, bytes);
      if (last && last.buffer !== chunk.buffer) releaseLarge(last); // one read may give several chunks
      last = chunk;
    },
    end: () => body.subarray(0, bytes),
  };
}
