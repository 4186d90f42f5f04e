// The thread that makes the SHA-256 of long streams.

import { createHash, type Hash } from 'node:crypto';
import { answerQuestions } from './thread.ts';

/** A piece of a stream, or null when there are no more: then the answer is the digest. */
export interface DigestStep {
  readonly stream: number;
  readonly piece: Uint8Array<SharedArrayBuffer> | null;
}

const hashes = new Map<number, Hash>();

answerQuestions<DigestStep, string | null>(({ stream, piece }) => {
  const hash = hashes.get(stream) ?? createHash('sha256');
  if (piece) {
    hashes.set(stream, hash.update(piece));
    return null;
  }
  hashes.delete(stream);
  return hash.digest('hex');
});
