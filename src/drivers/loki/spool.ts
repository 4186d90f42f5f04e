// Lines of an inventory that wait on disk until all are there.

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bytes, InventoryLine } from '../../core/model.ts';

const HELD_CHARS = 256 * 1024;

export interface Spool extends AsyncDisposable {
  /** In order of kind and name, also from one call to the next. */
  add(lines: readonly InventoryLine[]): Promise<void>;
  body(): Bytes;
}

export async function openSpool(scratch: string): Promise<Spool> {
  const dir = await mkdtemp(join(scratch, 'loki-'));
  const file: FileHandle = await open(join(dir, 'inventory'), 'wx+', 0o600);
  return {
    async add(lines) {
      let text = '';
      for (const line of lines) {
        text += rendered(line);
        if (text.length < HELD_CHARS) continue;
        await file.appendFile(text);
        text = '';
      }
      await file.appendFile(text);
    },
    async *body() {
      const buffer = Buffer.allocUnsafe(HELD_CHARS);
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

/** As in every inventory. */
export function rendered({ kind, name, count, digest, detail }: InventoryLine): string {
  return `${JSON.stringify({ kind, name, count, digest, detail })}\n`;
}
