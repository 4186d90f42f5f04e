// The thread that makes the SHA-256 of long streams.

import { createHash, type Hash } from 'node:crypto';
import type { DigestStep } from './digest.ts';
import { answerQuestions } from './thread.ts';

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
