// The thread that makes the SHA-256 of long streams.

import { createHash, type Hash } from 'node:crypto';
import { answerQuestions } from './thread.ts';

/** A piece of a stream, or that it ends, to which the answer is the digest, or that nobody will ask for that. */
export interface DigestStep {
  readonly stream: number;
  readonly piece: Uint8Array<SharedArrayBuffer> | 'end' | 'forget';
}

const hashes = new Map<number, Hash>();

answerQuestions<DigestStep, string | null>(({ stream, piece }) => {
  const hash = hashes.get(stream) ?? createHash('sha256');
  if (typeof piece !== 'string') {
    hashes.set(stream, hash.update(piece));
    return null;
  }
  hashes.delete(stream);
  return piece === 'end' ? hash.digest('hex') : null;
});
