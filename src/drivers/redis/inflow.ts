// What a server sends without being asked, taken at our own pace. It says 16 KiB at a time, and to be woken for each
// costs more than all that is done with them: what has come is left to grow in the system's buffers for a moment.

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';

/**
 * A pause after each as many: where the system buffers nothing meanwhile, that still leaves room for 200 MB/s. A server
 * makes its copy at 70 (compressed) to 140 MB/s.
 */
const PAUSE_EACH_BYTES = 1_000_000;
const PAUSE_MS = 5;
/** Of a piece after which more has come already. */
const LARGE_BYTES = 128 * 1024;

export interface Inflow {
  /** Of what was read, borrowed for the call. False: nothing more is read until it is wanted. */
  take(bytes: Buffer): false;
  /** Ends when the other side hangs up, rejects with what broke the connection. To leave it destroys the socket. */
  pieces(ctx: Context, timeoutMs: number, where: string): Bytes;
}

/** `rest` has come already. */
export function inflow(socket: Socket, rest: Buffer): Inflow {
  const held = [rest];
  let wanted: PromiseWithResolvers<Buffer | null> | null = null;
  let wantedAtMs = 0;
  let over: { readonly error: Error | null } | null = null;

  function end(error: Error | null): void {
    over ??= { error };
    if (error) wanted?.reject(error);
    else wanted?.resolve(null);
    wanted = null;
  }
  async function next(ctx: Context): Promise<Buffer | null> {
    if (over?.error) throw over.error;
    if (over) return null;
    wanted = Promise.withResolvers();
    wantedAtMs = ctx.monotonicMs();
    socket.resume();
    return await wanted.promise;
  }
  socket.pause();
  socket.on('error', end).on('close', () => end(null));
  return {
    take(bytes) {
      // TLS gives one record after the other into the same memory before anybody has looked at the first.
      const isLent = wanted && !(socket instanceof TLSSocket);
      const piece = isLent ? bytes : Buffer.from(bytes);
      if (wanted) wanted.resolve(piece);
      else held.push(piece);
      wanted = null;
      return false;
    },
    async *pieces(ctx, timeoutMs, where) {
      // Only a server that we wait for stands still: a slow store is not its fault, nor that this thread was busy.
      const onTimeout = (): void => {
        const leftMs = wanted ? wantedAtMs + timeoutMs - ctx.monotonicMs() : timeoutMs;
        if (leftMs > 0) socket.setTimeout(Math.ceil(leftMs));
        else socket.destroy(new Failure('timeout', `${where}: the copy stood still for ${timeoutMs} ms`));
      };
      socket.setTimeout(timeoutMs).on('timeout', onTimeout);
      let unpausedBytes = 0;
      try {
        for (let piece = held.shift() ?? (await next(ctx)); piece; piece = held.shift() ?? (await next(ctx))) {
          yield piece;
          unpausedBytes += piece.length;
          if (unpausedBytes < PAUSE_EACH_BYTES || piece.length >= LARGE_BYTES) continue;
          unpausedBytes = 0;
          await ctx.sleep(PAUSE_MS);
        }
      } finally {
        socket.destroy();
      }
    },
  };
}
