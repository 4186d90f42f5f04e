// What a restore has written and hashed on its way. Nothing is learned by reading such a file again while the inode
// tells that nobody has touched it since.

import type { BigIntStats } from 'node:fs';

/** Others are read again. */
const FILES_MAX = 100_000;

export interface Written {
  /** `stat` is that of the file once all of it was written, `sha256` that of what was. */
  note(stat: BigIntStats, sha256: string): void;
  /** Null for a file that was not written here, or that may have changed since. */
  sumOf(stat: BigIntStats): { bytes: number; sha256: string } | null;
}

export function writtenFiles(): Written {
  const files = new Map<string, { readonly state: string; readonly sha256: string }>();
  return {
    note(stat, sha256) {
      if (files.size < FILES_MAX) files.set(placeOf(stat), { state: stateOf(stat), sha256 });
    },
    sumOf(stat) {
      const file = files.get(placeOf(stat));
      return file?.state === stateOf(stat) ? { bytes: Number(stat.size), sha256: file.sha256 } : null;
    },
  };
}

function placeOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

/** Whoever writes to a file changes its ctime, which nobody can set back. */
function stateOf({ size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${size}:${mtimeNs}:${ctimeNs}`;
}
