// Cuts a stream where its content says so, so that what was inserted moves no later border. The gear table is made
// from the repository's key: to who has none, the sizes of chunks say nothing about their content.

import { hkdfSync } from 'node:crypto';
import type { MasterKey } from './crypto.ts';
import { EVEN_CHUNK_BYTES } from './pack.ts';

export const CHUNK_BYTES_MIN = 768 * 1024;
export const CHUNK_BYTES_MAX = 8 * 1024 * 1024;
/** A shift drops a bit of the 32-bit sum, so it has forgotten all but this many bytes. */
const WINDOW_BYTES = 32;
/**
 * One position in 2^18 is a border: 256 KiB on average after the least, so three quarters of the bytes are never looked
 * at (docs/adr/0003-compression-level.md). The upper bits depend on the whole window.
 */
const BORDER_MASK = 0xffffc000 | 0;

export interface Chunker {
  /**
   * Where in `piece` the chunk ends that goes on at `from`, or -1 when it goes on behind the piece: then the next call
   * is given the bytes that follow. After an answer the next call begins a new chunk.
   */
  cut(piece: Uint8Array, from: number): number;
}

/** The same for one key and seed for ever: the next backup must meet the same borders. */
export function gearTable(key: MasterKey, seed: string): Int32Array {
  return new Int32Array(hkdfSync('sha512', key.encrypt, seed, 'gear table of the chunker', 256 * 4));
}

export function chunker(table: Int32Array): Chunker {
  let length = 0;
  let sum = 0;
  return {
    cut(piece, from) {
      const start = from - length; // in an earlier piece when it is negative
      const end = Math.min(piece.length, start + CHUNK_BYTES_MAX);
      const first = Math.min(end, start + CHUNK_BYTES_MIN);
      let hash = sum;
      let at = Math.max(from, start + CHUNK_BYTES_MIN - WINDOW_BYTES);
      for (; at < first; at++) hash = step(hash, table, piece, at);
      for (at = Math.max(from, first); at < end; at++) {
        hash = step(hash, table, piece, at);
        if ((hash & BORDER_MASK) === 0) return finish(at + 1);
      }
      if (end === start + CHUNK_BYTES_MAX) return finish(end);
      length = end - start;
      sum = hash;
      return -1;
    },
  };

  function finish(at: number): number {
    length = 0;
    sum = 0;
    return at;
  }
}

/** For what changes in place: borders that are always the same cost nothing to find, and keep their places as well. */
export function evenChunker(): Chunker {
  let length = 0;
  return {
    cut(piece, from) {
      const left = EVEN_CHUNK_BYTES - length;
      if (piece.length - from >= left) {
        length = 0;
        return from + left;
      }
      length += piece.length - from;
      return -1;
    },
  };
}

function step(hash: number, table: Int32Array, piece: Uint8Array, at: number): number {
  return ((hash << 1) + (table[piece[at] ?? 0] ?? 0)) | 0;
}
