// To make a file takes microseconds where the disk's catalogue is in memory: less than to ask another thread for it.
// As soon as it takes long, because a busy disk or a network is behind it, threads make the next files, several at a
// time.

import { constants, open as openFile, openSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Context } from '../../core/model.ts';

const open = promisify(openFile);
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const MODE = 0o600;
/** What a file takes on average: a single pause may be the scheduler's. */
const SLOW_MS = 0.1;
const FILES_AVERAGED = 16;
const FILES_AFTER_SLOW = 256;

/** Makes a file that is not there, for writing, closed to others. */
export type Creator = (path: Buffer) => number | Promise<number>;

export function createDirectly(path: Buffer): number {
  return openSync(path, FLAGS, MODE);
}

export function fileCreator(ctx: Context): Creator {
  let byThreads = 0;
  let averageMs = 0;
  return (path) => {
    if (byThreads > 0) {
      byThreads -= 1;
      return open(path, FLAGS, MODE);
    }
    const begun = ctx.monotonicMs();
    const fd = createDirectly(path);
    averageMs += (ctx.monotonicMs() - begun - averageMs) / FILES_AVERAGED;
    if (averageMs > SLOW_MS) {
      byThreads = FILES_AFTER_SLOW;
      averageMs = 0;
    }
    return fd;
  };
}
