// Cuts a stream where its content says so, so that what was inserted moves no later border. The gear table is made
// from the repository's key: to who has none, the sizes of chunks say nothing about their content.

import { hkdfSync } from 'node:crypto';
import type { MasterKey } from './crypto.ts';

export const CHUNK_BYTES_MIN = 512 * 1024;
export const CHUNK_BYTES_MAX = 8 * 1024 * 1024;
/** A shift drops a bit of the 32-bit sum, so it has forgotten all but this many bytes. */
const WINDOW_BYTES = 32;
/** One position in 2^19 is a border: 512 KiB on average after the least. The upper bits depend on the whole window. */
const BORDER_MASK = 0xffffe000 | 0;

export interface Chunker {
  /**
   * The length of the chunk that `data[0, filled)` begins with, 0 when more bytes are needed to tell. The caller may
   * add bytes between calls, but not change them; after an answer the next call begins a new chunk.
   */
  cut(data: Uint8Array, filled: number): number;
}

/** The same for one key and seed for ever: the next backup must meet the same borders. */
export function gearTable(key: MasterKey, seed: string): Int32Array {
  return new Int32Array(hkdfSync('sha512', key.encrypt, seed, 'gear table of the chunker', 256 * 4));
}

export function chunker(table: Int32Array): Chunker {
  let scanned = 0;
  let sum = 0;
  return {
    cut(data, filled) {
      if (filled < CHUNK_BYTES_MIN) return 0;
      const end = Math.min(filled, CHUNK_BYTES_MAX);
      let at = scanned;
      let hash = sum;
      if (at === 0) {
        for (at = CHUNK_BYTES_MIN - WINDOW_BYTES; at < CHUNK_BYTES_MIN; at++) hash = step(hash, table, data, at);
      }
      while (at < end) {
        hash = step(hash, table, data, at);
        at += 1;
        if ((hash & BORDER_MASK) === 0) return finish(at);
      }
      if (at === CHUNK_BYTES_MAX) return finish(at);
      scanned = at;
      sum = hash;
      return 0;
    },
  };

  function finish(length: number): number {
    scanned = 0;
    sum = 0;
    return length;
  }
}

function step(hash: number, table: Int32Array, data: Uint8Array, at: number): number {
  return ((hash << 1) + (table[data[at] ?? 0] ?? 0)) | 0;
}
