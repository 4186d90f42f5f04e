// Lines that wait on disk, because a tree may be larger than memory.

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lineBatchesOf } from '../../core/bytes.ts';
import { Failure, messageOf, systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';

const HELD_BYTES = 256 * 1024;

/** Where a line lies. */
export interface Place {
  readonly at: number;
  readonly bytes: number;
}
export interface Spool extends AsyncDisposable {
  /** With its end. */
  add(line: string): Promise<Place>;
  /** In the order they were added; as many as came together, without their ends. */
  lines(): AsyncIterable<readonly string[]>;
  line(place: Place): Promise<string>;
}

export async function openSpool({ scratch }: Context): Promise<Spool> {
  const dir = await mkdtemp(join(scratch, 'zookeeper-'));
  const file: FileHandle = await open(join(dir, 'lines'), 'wx+', 0o600);
  let held: string[] = [];
  let heldBytes = 0;
  let at = 0;
  async function flush(): Promise<void> {
    if (held.length === 0) return;
    const text = held.join('');
    held = [];
    heldBytes = 0;
    try {
      await file.appendFile(text);
    } catch (cause) {
      const code = systemCode(cause) === 'ENOSPC' ? 'no-space' : 'denied';
      throw new Failure(code, `the tree can't be kept in ${dir} for the moment: ${messageOf(cause)}`, { cause });
    }
  }
  async function* body(): Bytes {
    await flush();
    const buffer = Buffer.allocUnsafe(HELD_BYTES);
    for (let from = 0; ; ) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
      if (bytesRead === 0) return;
      from += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
  return {
    async add(line) {
      const place = { at, bytes: Buffer.byteLength(line) };
      held.push(line);
      at += place.bytes;
      heldBytes += place.bytes;
      if (heldBytes >= HELD_BYTES) await flush();
      return place;
    },
    async *lines() {
      for await (const batch of lineBatchesOf(body())) yield batch.filter((line) => line !== '');
    },
    async line({ at: from, bytes }) {
      await flush();
      const buffer = Buffer.allocUnsafe(bytes);
      await file.read(buffer, 0, bytes, from);
      return buffer.toString('utf8', 0, bytes - 1);
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
