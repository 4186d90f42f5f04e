// The SHA-256 of long streams, made by another thread while the caller goes on.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { DigestStep } from './digest.worker.ts';
import { startThread, type Thread } from './thread.ts';

/** To start the thread takes as long as to hash a third of this. */
const THREAD_BYTES_MIN = 256 * 1024 * 1024;

/** Streams that are open at the same time share a thread. */
export interface Digester {
  /** For a stream of about so many bytes: little is hashed by the caller's own thread. */
  begin(bytes: number): StreamDigest;
}
/** Calls are in the order of the bytes, and need not be awaited. */
export interface StreamDigest extends AsyncDisposable {
  /** Never rejects. The piece, in shared memory, stays as it is until this resolves. */
  update(piece: Uint8Array<SharedArrayBuffer>): Promise<void>;
  /** Of all pieces, in hex. Rejects when the thread has died. */
  end(): Promise<string>;
}

export function digester(script = new URL('./digest.worker.ts', import.meta.url)): Digester {
  let thread: Thread<DigestStep, string | null> | undefined;
  let streams = 0;
  let open = 0;
  return {
    begin(bytes) {
      if (bytes < THREAD_BYTES_MIN) return ownDigest();
      if (!thread?.isAlive()) thread = startThread(script, 'the thread that hashes');
      const { ask } = thread;
      const stream = streams++;
      open += 1;
      let over = false;
      return {
        async update(piece) {
          if (!over) await ask({ stream, piece }).catch(() => {}); // `end` tells it
        },
        async end() {
          assert(!over);
          over = true;
          return (await ask({ stream, piece: 'end' })) ?? '';
        },
        async [Symbol.asyncDispose]() {
          open -= 1;
          if (!over && open > 0) ask({ stream, piece: 'forget' }).catch(() => {}); // a dead thread has forgotten it
          over = true;
          if (open > 0) return;
          const last = thread; // those before it have died
          thread = undefined;
          await last?.stop();
        },
      };
    },
  };
}

function ownDigest(): StreamDigest {
  const hash = createHash('sha256');
  return {
    async update(piece) {
      hash.update(piece);
    },
    end: async () => hash.digest('hex'),
    async [Symbol.asyncDispose]() {},
  };
}
