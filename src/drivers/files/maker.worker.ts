// The thread that makes small files. Descriptors are those of the process, so that it works beneath the same opened
// directories as who asks it.

import { answerQuestions } from '../../core/thread.ts';
import { dirOf } from '../beneath.ts';
import type { Entry } from './entries.ts';
import { baseOf } from './names.ts';
import { putWhole } from './write.ts';
import type { FileState } from './written.ts';

/** Their bytes lie in `buffer`, which is the thread's until its answer. */
export interface SmallFiles {
  readonly buffer: SharedArrayBuffer;
  readonly dirs: readonly { readonly fd: number; readonly label: string }[];
  /** `dir` is a number of `dirs`. */
  readonly files: readonly {
    readonly dir: number;
    readonly entry: Entry;
    readonly at: number;
    readonly bytes: number;
  }[];
  readonly overwrite: boolean;
}

answerQuestions<SmallFiles, readonly FileState[]>(({ buffer, dirs, files, overwrite }) => {
  const opened = dirs.map(({ fd, label }) => dirOf(fd, label));
  return files.map(({ dir, entry, at, bytes }) => {
    const place = { dir: opened[dir] as (typeof opened)[number], name: baseOf(entry.name), overwrite };
    const { ino, dev, size, mtimeNs, ctimeNs } = putWhole(place, entry, new Uint8Array(buffer, at, bytes));
    return { ino, dev, size, mtimeNs, ctimeNs };
  });
});
