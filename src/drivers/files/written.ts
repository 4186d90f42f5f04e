// What a restore has written and hashed on its way. Nothing is learned by reading such a file again while the inode
// tells that nobody has touched it since.

import type { BigIntStats } from 'node:fs';

/** Others are read again. */
const FILES_MAX = 100_000;

/** Whoever writes to a file changes its ctime, which nobody can set back. */
export type FileState = Pick<BigIntStats, 'ino' | 'dev' | 'size' | 'mtimeNs' | 'ctimeNs'>;
type State = Omit<FileState, 'ino'>;

export interface Written {
  /** `state` is that of the file once all of it was written, `sha256` that of what was. */
  note(state: FileState, sha256: string): void;
  /** Null for a file that was not written here, or that may have changed since. */
  sumOf(stat: BigIntStats): { bytes: number; sha256: string } | null;
}

export function writtenFiles(): Written {
  const files = new Map<bigint, State & { readonly sha256: string }>(); // by inode; of two disks, the last is known
  return {
    note({ ino, dev, size, mtimeNs, ctimeNs }, sha256) {
      if (files.size < FILES_MAX) files.set(ino, { dev, size, mtimeNs, ctimeNs, sha256 });
    },
    sumOf(stat) {
      const file = files.get(stat.ino);
      return file && isSame(file, stat) ? { bytes: Number(stat.size), sha256: file.sha256 } : null;
    },
  };
}

function isSame(a: State, b: State): boolean {
  return a.dev === b.dev && a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;
}
