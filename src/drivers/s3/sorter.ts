// Puts lines in order that do not fit into memory: what comes in order stays one run in a file, what does not begins
// another, and the runs become one list when they are read.

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lineBatchesOf } from '../../core/bytes.ts';
import { Failure, messageOf, systemCode } from '../../core/errors.ts';
import { merged } from '../../core/merged.ts';
import type { Bytes } from '../../core/model.ts';

const HELD_ITEMS = 20_000;
/** Of one run; of all of them together at most so much. */
const READ_BYTES_MAX = 256 * 1024;
const READ_ALL_BYTES = 16 * 1024 * 1024;

export interface Sorter<T> extends AsyncDisposable {
  add(items: readonly T[]): Promise<void>;
  /** All of them in order; nothing is added afterwards. */
  sorted(): AsyncIterable<readonly T[]>;
}
export interface Sorting<T> {
  readonly order: (a: T, b: T) => number;
  /** Without a line end. */
  readonly lineOf: (item: T) => string;
  readonly itemOf: (line: string) => T;
  /** How many are held until they go to disk. */
  readonly heldMax?: number;
}
interface Run {
  readonly begin: number;
  end: number;
}

export async function openSorter<T>(scratch: string, sorting: Sorting<T>): Promise<Sorter<T>> {
  const { order, lineOf, itemOf, heldMax = HELD_ITEMS } = sorting;
  const dir = await mkdtemp(join(scratch, 's3-'));
  const file: FileHandle = await open(join(dir, 'lines'), 'wx+', 0o600);
  const runs: Run[] = [];
  let held: T[] = [];
  let last: T | undefined;
  let written = 0;
  let added = 0;

  /** Its place in the file is taken before anything is waited for: several may add at the same time. */
  async function flush(): Promise<void> {
    const items = held.sort(order);
    const [first] = items;
    if (first === undefined) return;
    held = [];
    const data = Buffer.from(items.map((item) => `${lineOf(item)}\n`).join(''));
    const begin = written;
    written += data.length;
    const run = runs.at(-1);
    if (run && last !== undefined && order(last, first) <= 0) run.end += data.length;
    else runs.push({ begin, end: written });
    last = items.at(-1);
    try {
      for (let at = 0; at < data.length; )
        at += (await file.write(data, at, data.length - at, begin + at)).bytesWritten;
    } catch (cause) {
      if (systemCode(cause) !== 'ENOSPC') throw cause;
      throw new Failure('no-space', `listing into ${scratch}: ${messageOf(cause)}`, { cause });
    }
  }
  async function* read({ begin, end }: Run): Bytes {
    const size = Math.min(READ_BYTES_MAX, Math.ceil(READ_ALL_BYTES / runs.length));
    for (let at = begin; at < end; ) {
      const buffer = Buffer.allocUnsafe(Math.min(size, end - at));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Failure('no-space', `listing into ${scratch}: the file ends early`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
  async function* items(run: Run): AsyncIterable<readonly T[]> {
    for await (const lines of lineBatchesOf(read(run))) yield lines.map(itemOf);
  }
  return {
    async add(more) {
      for (const item of more) held.push(item);
      added += more.length;
      if (held.length >= heldMax) await flush();
    },
    async *sorted() {
      if (runs.length === 0) {
        held.sort(order);
        if (held.length > 0) yield held;
        return;
      }
      await flush();
      let given = 0;
      for await (const some of merged(runs.map(items), order)) {
        given += some.length;
        yield some;
      }
      if (given === added) return;
      throw new Failure('malformed', `of ${added} lines that were written to ${scratch} only ${given} came back`);
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
