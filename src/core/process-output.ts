// What a child program prints, read with as few calls and copies as Node allows: a database goes through here.

import { Socket, type SocketConstructorOpts } from 'node:net';
import { PassThrough, pipeline, type Readable } from 'node:stream';
import type { Bytes } from './model.ts';

/** Passed on in chunks of about this size, a smaller one when no more comes for a moment. */
const GATHERED_BYTES = 256 * 1024;
const GATHERING_MS = 1;

export interface Output {
  /** Ends where the program's output does. */
  readonly stream: Readable;
  readonly chunks: Bytes;
  /** Closes it when nobody has begun to read: what is full would stay open for ever. */
  leave(): void;
}

/** It is listened to from now on, as Node throws away what a program has left in its pipe when it exits. */
export function outputOf(stdout: Readable): Output {
  const inside = stdout as { _handle?: object | null };
  const handle = inside._handle;
  if (!handle) {
    // Node is other inside than it was for years: then its own streams do it, which take three times as long.
    const stream = pipeline(stdout, new PassThrough(), () => {}); // a failure of one is one of the other
    return { stream, chunks: stream, leave: () => void (stream.readableDidRead || stream.destroy()) };
  }
  inside._handle = null; // as when it is closed: only one may have it (docs/adr/0008-reading-programs.md)
  stdout.destroy();
  return gathered((onread) => new Socket({ handle, writable: false, onread } as SocketConstructorOpts));
}

/** Read into one buffer that is used again. */
function gathered(open: (onread: SocketConstructorOpts['onread']) => Socket): Output {
  const buffer = Buffer.allocUnsafeSlow(2 * GATHERED_BYTES);
  let from = 0; // what was passed on already
  let to = 0;
  let due = Promise.withResolvers<void>();
  let late: NodeJS.Timeout | undefined;
  let failed: { readonly error: Error } | undefined;
  let isRead = false;
  const stream = open({
    // Asked for after each call of the other: what is full is not read into until all of it was passed on.
    buffer: () => buffer.subarray(isFull() ? 0 : to),
    callback(bytes) {
      to += bytes;
      late ??= setTimeout(() => due.resolve(), GATHERING_MS);
      if (isFull()) due.resolve();
      return !isFull();
    },
  });
  stream.once('error', (error) => (failed = { error }));
  stream.once('close', () => due.resolve());
  stream.resume(); // there is nothing in the stream itself but its end

  function isFull(): boolean {
    return to >= GATHERED_BYTES;
  }
  async function* chunks(): Bytes {
    isRead = true;
    try {
      for (;;) {
        if (!stream.closed) await due.promise;
        if (from === to) break;
        const chunk = buffer.subarray(from, to);
        const wasFull = isFull();
        from = wasFull ? 0 : to;
        to = from;
        clearTimeout(late);
        late = undefined;
        due = Promise.withResolvers();
        yield chunk;
        if (wasFull) stream.resume();
      }
      if (failed) throw failed.error;
    } finally {
      stream.destroy();
    }
  }
  return { stream, chunks: chunks(), leave: () => void (isRead || stream.destroy()) };
}
