import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bytes } from '../../core/model.ts';
import { explained } from './failures.ts';

const HELD_BYTES = 256 * 1024;

/** Text that waits on disk until it can be put. */
export interface Spool extends AsyncDisposable {
  readonly name: string;
  add(text: string): Promise<void>;
  /** All of it, from its beginning. */
  body(): Bytes;
}

export async function openSpool(scratch: string, name: string): Promise<Spool> {
  const dir = await mkdtemp(join(scratch, 'files-'));
  const file: FileHandle = await open(join(dir, name), 'wx+', 0o600);
  let held: string[] = [];
  let heldBytes = 0;
  async function flush(): Promise<void> {
    try {
      await file.appendFile(held.join(''));
    } catch (error) {
      throw explained(dir, error);
    }
    held = [];
    heldBytes = 0;
  }
  return {
    name,
    async add(text) {
      held.push(text);
      heldBytes += text.length;
      if (heldBytes >= HELD_BYTES) await flush();
    },
    async *body() {
      await flush();
      const buffer = Buffer.allocUnsafe(HELD_BYTES);
      for (let at = 0; ; ) {
        const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) return;
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
