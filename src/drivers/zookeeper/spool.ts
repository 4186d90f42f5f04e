// Lines that wait on disk, because a tree may be larger than memory.

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lineBatchesOf } from '../../core/bytes.ts';
import { Failure, messageOf, systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';

const HELD_CHARS = 256 * 1024;

export interface Spool extends AsyncDisposable {
  add(line: string): Promise<void>;
  body(): Bytes;
  /** As many as came together, without their ends. */
  lines(): AsyncIterable<readonly string[]>;
}

export async function openSpool({ scratch }: Context): Promise<Spool> {
  const dir = await mkdtemp(join(scratch, 'zookeeper-'));
  const file: FileHandle = await open(join(dir, 'lines'), 'wx+', 0o600);
  let held: string[] = [];
  let chars = 0;
  async function flush(): Promise<void> {
    try {
      await file.appendFile(held.join(''));
    } catch (cause) {
      const code = systemCode(cause) === 'ENOSPC' ? 'no-space' : 'denied';
      throw new Failure(code, `the tree can't be kept in ${dir} for the moment: ${messageOf(cause)}`, { cause });
    }
    held = [];
    chars = 0;
  }
  async function* body(): Bytes {
    await flush();
    const buffer = Buffer.allocUnsafe(HELD_CHARS);
    for (let at = 0; ; ) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
  return {
    async add(line) {
      held.push(line);
      chars += line.length;
      if (chars >= HELD_CHARS) await flush();
    },
    body,
    async *lines() {
      for await (const batch of lineBatchesOf(body())) yield batch.filter((line) => line !== '');
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
