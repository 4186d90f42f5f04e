// Small files are made by a thread of their own, some hundred at a time: that takes as long as all the rest of a
// restore, which goes on meanwhile.

import { WHOLE_BYTES_MAX } from '../../core/many-parts.ts';
import type { Context } from '../../core/model.ts';
import type { Pace } from '../../core/pace.ts';
import { startThread, type Thread } from '../../core/thread.ts';
import type { Entry } from './entries.ts';
import type { SmallFiles } from './maker.worker.ts';
import type { Level, Steps } from './steps.ts';
import { underway } from './underway.ts';
import type { FileState } from './written.ts';

const FILES_MAX = 128;
/** There is always room for one more. */
const FILLED_BYTES = 1024 * 1024;
/** One is made, and one is ready. */
const BATCHES_MAX = 2;

/** To be disposed of before the steps end. */
export interface Maker extends AsyncDisposable {
  /** Takes a copy of the bytes, and holds the level until the file is made. Throws what has failed first. */
  add(level: Level, entry: Entry, whole: Uint8Array): Promise<void>;
  /** Waits until all are made. */
  end(): Promise<void>;
}
export interface MakerOptions {
  readonly steps: Steps;
  readonly overwrite: boolean;
  /** Is told how long a file takes. */
  readonly pace: Pace;
  /** Called for each, with what it is on the disk then. */
  readonly made: (entry: Entry, state: FileState) => void;
}

interface Batch {
  readonly buffer: SharedArrayBuffer;
  readonly dirs: { readonly fd: number; readonly label: string }[];
  readonly files: SmallFiles['files'][number][];
  readonly ended: PromiseWithResolvers<void>;
  /** Of levels, until it has ended. */
  readonly holds: Promise<void>[];
  latest: Level | undefined;
  bytes: number;
}

export function startMaker(ctx: Context, { steps, overwrite, pace, made }: MakerOptions): Maker {
  let thread: Thread<SmallFiles, readonly FileState[]> | undefined;
  /** With the first small file: where there is none, it would be started for nothing. */
  const started = (): Thread<SmallFiles, readonly FileState[]> =>
    (thread ??= startThread(new URL('./maker.worker.ts', import.meta.url), 'the thread that makes files'));
  const spare: SharedArrayBuffer[] = [];
  const sent = underway(BATCHES_MAX);
  let batch: Batch | undefined;

  async function make({ buffer, dirs, files, ended, holds }: Batch): Promise<void> {
    const begunMs = ctx.monotonicMs();
    try {
      const states = await started().ask({ buffer, dirs, files, overwrite });
      pace.took((ctx.monotonicMs() - begunMs) / files.length);
      for (const [i, { entry }] of files.entries()) made(entry, states[i] as FileState);
      ended.resolve();
    } catch (error) {
      ended.reject(error);
    }
    spare.push(buffer);
    await Promise.all(holds); // to leave a level may fail as well
  }
  async function send(): Promise<void> {
    const full = batch;
    batch = undefined;
    if (full) await sent.add(() => make(full));
  }
  return {
    async add(level, entry, whole) {
      started();
      batch ??= emptyBatch(spare.pop());
      const { buffer, dirs, files, ended, holds } = batch;
      if (batch.latest !== level) {
        batch.latest = level;
        dirs.push({ fd: level.dir.fd, label: level.dir.label });
        const hold = steps.hold(level, () => ended.promise);
        hold.catch(() => {}); // thrown where the batch is awaited
        holds.push(hold);
      }
      files.push({ dir: dirs.length - 1, entry, at: batch.bytes, bytes: whole.length });
      // To fill is quicker than to set, which copies into shared memory byte by byte.
      if (whole.length > 0) Buffer.from(buffer, batch.bytes, whole.length).fill(whole);
      batch.bytes += whole.length;
      if (files.length === FILES_MAX || batch.bytes >= FILLED_BYTES) await send();
    },
    async end() {
      await send();
      await sent.end();
    },
    async [Symbol.asyncDispose]() {
      batch?.ended.reject(new Error('the restore has failed')); // what it holds is let go, and nobody asks why
      await sent[Symbol.asyncDispose]();
      await thread?.stop();
    },
  };
}

function emptyBatch(buffer = new SharedArrayBuffer(FILLED_BYTES + WHOLE_BYTES_MAX)): Batch {
  const ended = Promise.withResolvers<void>();
  return { buffer, dirs: [], files: [], ended, holds: [], latest: undefined, bytes: 0 };
}
