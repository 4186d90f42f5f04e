import { constants, open as openFile, openSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Context } from '../../core/model.ts';
import { paceOf } from './pace.ts';

const open = promisify(openFile);
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const MODE = 0o600;
const SLOW_MS = 0.1;

/** Makes a file that is not there, for writing, closed to others. */
export type Creator = (path: Buffer) => number | Promise<number>;

export function createDirectly(path: Buffer): number {
  return openSync(path, FLAGS, MODE);
}

/** By threads, several at a time, where it takes long. */
export function fileCreator(ctx: Context): Creator {
  const pace = paceOf(SLOW_MS);
  return (path) => {
    if (pace.isSlow()) return open(path, FLAGS, MODE);
    const begun = ctx.monotonicMs();
    const fd = createDirectly(path);
    pace.took(ctx.monotonicMs() - begun);
    return fd;
  };
}
