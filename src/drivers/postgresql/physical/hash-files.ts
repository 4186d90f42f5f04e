// The digests of files on the disk: small ones by the caller's own thread, the others by several at a time.

import { hash } from 'node:crypto';
import { fstatSync, readSync } from 'node:fs';
import { startThread, type Thread } from '../../../core/thread.ts';
import type { FileSum } from './hash-file.worker.ts';

/** To ask a thread takes as long as to hash this. */
const OWN_BYTES_MAX = 128 * 1024;
const THREADS = 2;

export interface FileHasher extends AsyncDisposable {
  /** Of an open file, which stays open until it resolves. */
  sumOf(fd: number): Promise<FileSum>;
}

export function fileHasher(script = new URL('./hash-file.worker.ts', import.meta.url)): FileHasher {
  const threads: { readonly thread: Thread<number, FileSum>; asked: number }[] = [];
  const memory = Buffer.allocUnsafeSlow(OWN_BYTES_MAX);

  async function ask(fd: number): Promise<FileSum> {
    if (threads.length < THREADS) threads.push({ thread: startThread(script, 'a thread that hashes'), asked: 0 });
    const idle = threads.reduce((a, b) => (b.asked < a.asked ? b : a));
    idle.asked += 1;
    try {
      return await idle.thread.ask(fd);
    } finally {
      idle.asked -= 1;
    }
  }
  return {
    async sumOf(fd) {
      if (fstatSync(fd).size >= OWN_BYTES_MAX) return await ask(fd);
      let bytes = 0;
      for (let read = -1; read !== 0 && bytes < memory.length; bytes += read) {
        read = readSync(fd, memory, bytes, memory.length - bytes, bytes);
      }
      // It grew meanwhile.
      return bytes === memory.length ? await ask(fd) : { bytes, sha256: hash('sha256', memory.subarray(0, bytes)) };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(threads.map(({ thread }) => thread.stop()));
    },
  };
}
