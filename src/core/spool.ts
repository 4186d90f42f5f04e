// Text that waits in a scratch file, because there may be more of it than memory has room for.

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { releaseLarge } from './bytes.ts';
import { Failure, messageOf, systemCode } from './errors.ts';
import type { Bytes } from './model.ts';

const HELD_CHARS = 256 * 1024;
const PIECE_BYTES = 256 * 1024;

/** Where a text lies. */
export interface Place {
  readonly at: number;
  readonly bytes: number;
}
export interface Spool extends AsyncDisposable {
  /** Several may add at the same time: each waits until what it has filled is written. */
  add(text: string): Promise<Place>;
  /** All of it from its beginning, or one place. Chunks are borrowed. Nothing is added while it is read. */
  body(place?: Place, pieceBytes?: number): Bytes;
}

/** `what` is said where there is no room for it ('no-space'). The file is there once it is needed. */
export function spool(scratch: string, what: string): Spool {
  let opened: Promise<{ dir: string; file: FileHandle }> | undefined;
  let held: string[] = [];
  let heldChars = 0;
  let heldFrom = 0;
  let end = 0;
  let writing: Promise<void> = Promise.resolve();

  async function opening(): Promise<{ dir: string; file: FileHandle }> {
    const dir = await mkdtemp(join(scratch, 'spool-'));
    return { dir, file: await open(join(dir, 'text'), 'wx+', 0o600) };
  }
  async function write(data: Buffer, from: number): Promise<void> {
    try {
      opened ??= opening();
      const { file } = await opened;
      for (let at = 0; at < data.length; ) {
        at += (await file.write(data, at, data.length - at, from + at)).bytesWritten;
      }
    } catch (cause) {
      const code = systemCode(cause);
      const isFull = code === 'ENOSPC' || code === 'EDQUOT';
      if (!isFull && code !== 'EACCES') throw cause;
      const message = `${what} can't wait in ${scratch}: ${messageOf(cause)}`;
      throw new Failure(isFull ? 'no-space' : 'denied', message, { cause });
    }
  }
  /** Resolves when all that was added is in the file. */
  async function flush(): Promise<void> {
    if (held.length > 0) {
      const data = Buffer.from(held.join(''));
      const from = heldFrom;
      held = [];
      heldChars = 0;
      heldFrom = end;
      writing = writing.then(() => write(data, from)).finally(() => releaseLarge(data));
    }
    await writing;
  }
  return {
    async add(text) {
      const place = { at: end, bytes: Buffer.byteLength(text) };
      held.push(text);
      heldChars += text.length;
      end += place.bytes;
      if (heldChars >= HELD_CHARS) await flush();
      return place;
    },
    async *body(place = { at: 0, bytes: end }, pieceBytes = PIECE_BYTES) {
      await flush();
      if (!opened) return;
      const { file } = await opened;
      const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, place.bytes));
      for (let [at, left] = [place.at, place.bytes]; left > 0; ) {
        const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, left), at);
        if (bytesRead === 0) throw new Failure('malformed', `${what} did not come back whole from ${scratch}`);
        at += bytesRead;
        left -= bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    },
    async [Symbol.asyncDispose]() {
      await writing.catch(() => undefined); // whoever added was told
      const there = await opened?.catch(() => undefined);
      if (!there) return;
      await there.file.close();
      await rm(there.dir, { recursive: true, force: true });
    },
  };
}
