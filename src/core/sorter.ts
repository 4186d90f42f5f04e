// Long lists are put in order outside memory: what comes in order is one run in a scratch file, what does not begins
// another, and the runs become one list when they are read.

import { lineBatchesOf } from './bytes.ts';
import { merged } from './merged.ts';
import { type Place, spool } from './spool.ts';

/** Of text that is held in memory until it is written. */
const HELD_CHARS = 4 * 1024 * 1024;
/** Of one run; of all of them together at most so much. */
const READ_BYTES_MAX = 256 * 1024;
const READ_ALL_BYTES = 16 * 1024 * 1024;
const ITEMS_TOGETHER = 500;

export interface Sorting<T> {
  readonly order: (a: T, b: T) => number;
  /** Without a line end. */
  readonly lineOf: (item: T) => string;
  readonly itemOf: (line: string) => T;
  /** How long its line is, nearly. */
  readonly charsOf: (item: T) => number;
  readonly heldCharsMax?: number;
}
export interface Sorter<T> extends AsyncDisposable {
  /** Waits while a run is written, so that adding faster than the disk does not fill the memory. */
  add(items: readonly T[]): Promise<void>;
  readonly count: number;
  /** All of them in order, some at a time: those that are equal as they came. Nothing is added afterwards. */
  sorted(): AsyncIterable<readonly T[]>;
}

/** `what` is said where there is no room for it. */
export function sorter<T>(scratch: string, what: string, sorting: Sorting<T>): Sorter<T> {
  const { order, lineOf, itemOf, charsOf, heldCharsMax = HELD_CHARS } = sorting;
  const file = spool(scratch, what);
  const runs: Place[] = [];
  let held: T[] = [];
  let heldChars = 0;
  let last: T | undefined;
  let count = 0;
  let writing: Promise<void> = Promise.resolve();

  async function write(items: T[]): Promise<void> {
    const [first] = items.sort(order);
    if (first === undefined) return;
    const before = runs.at(-1);
    const goesOn = before && last !== undefined && order(last, first) <= 0;
    let run = goesOn ? before : null;
    for (let at = 0; at < items.length; at += ITEMS_TOGETHER) {
      const lines = items.slice(at, at + ITEMS_TOGETHER).map(lineOf);
      const place = await file.add(`${lines.join('\n')}\n`);
      run = run ? { at: run.at, bytes: run.bytes + place.bytes } : place;
    }
    if (goesOn) runs.pop();
    if (run) runs.push(run);
    last = items.at(-1);
  }
  async function* read(run: Place): AsyncIterable<readonly T[]> {
    const pieceBytes = Math.min(READ_BYTES_MAX, Math.ceil(READ_ALL_BYTES / runs.length));
    for await (const lines of lineBatchesOf(file.body(run, pieceBytes))) yield lines.map(itemOf);
  }
  return {
    async add(items) {
      for (const item of items) {
        held.push(item);
        heldChars += charsOf(item);
      }
      count += items.length;
      if (heldChars >= heldCharsMax) {
        const full = held;
        held = [];
        heldChars = 0;
        writing = writing.then(() => write(full));
      }
      await writing;
    },
    get count() {
      return count;
    },
    async *sorted() {
      await writing;
      held.sort(order);
      yield* merged([...runs.map(read), inMemory(held)], order);
    },
    async [Symbol.asyncDispose]() {
      await writing.catch(() => undefined); // whoever added was told
      await file[Symbol.asyncDispose]();
    },
  };
}

/** Of lines as they are, in the order of their UTF-16 units. */
export function lineSorter(scratch: string, what: string): Sorter<string> {
  return sorter(scratch, what, {
    order: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
    lineOf: (line) => line,
    itemOf: (line) => line,
    charsOf: (line) => line.length,
  });
}

async function* inMemory<T>(items: readonly T[]): AsyncIterable<readonly T[]> {
  yield items;
}
