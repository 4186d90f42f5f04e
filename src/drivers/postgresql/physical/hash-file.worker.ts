// A thread that hashes files which the process has opened.

import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';
import { readBuffer } from '../../../core/bytes.ts';
import { answerQuestions } from '../../../core/thread.ts';

export interface FileSum {
  readonly bytes: number;
  /** In hex. */
  readonly sha256: string;
}

const memory = readBuffer(1024 * 1024, ArrayBuffer);

answerQuestions<number, FileSum>((fd) => {
  const digest = createHash('sha256');
  for (let bytes = 0; ; ) {
    const read = readSync(fd, memory, 0, memory.length, bytes);
    if (read === 0) return { bytes, sha256: digest.digest('hex') };
    digest.update(memory.subarray(0, read));
    bytes += read;
  }
});
