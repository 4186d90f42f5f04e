// Lists that may be long are sorted outside memory: runs in scratch files, merged while they are read.

import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { byteOrder, lineBatchesOf } from '../core/bytes.ts';
import { merged } from '../core/merged.ts';
import type { Context } from '../core/model.ts';

/** Of text that is held in memory before it becomes a file. There is a spool for each store and component at work. */
const RUN_CHARS_MAX = 8 * 1024 * 1024;
/** Entries that are made one text to be written. */
const PIECE_ENTRIES = 500;

export interface Entry {
  readonly name: string;
  readonly text: string;
}

export interface Spool extends AsyncDisposable {
  /** Waits while a full run is written, so that adding faster than the disk does not fill the memory. */
  add(entries: readonly Entry[]): Promise<void>;
  readonly count: number;
  /** All of them in byte order of name, some at a time. May be read once nothing is added any more. */
  sorted(): AsyncIterable<readonly Entry[]>;
}

/** `runCharsMax` is for tests. */
export function spool(ctx: Context, runCharsMax = RUN_CHARS_MAX): Spool {
  let held: Entry[] = [];
  let heldChars = 0;
  let count = 0;
  let dir: Promise<string> | undefined;
  const runs: string[] = [];
  let writing: Promise<void> = Promise.resolve();

  async function writeRun(entries: Entry[], number: number): Promise<void> {
    dir ??= mkdtemp(join(ctx.scratch, 'spool-'));
    const path = join(await dir, String(number));
    await writeFile(path, rendered(entries.sort(byName)), { mode: 0o600 });
    runs.push(path);
  }

  return {
    async add(entries) {
      for (const entry of entries) {
        held.push(entry);
        heldChars += entry.name.length + entry.text.length;
      }
      count += entries.length;
      if (heldChars >= runCharsMax) {
        const [full, number] = [held, count];
        held = [];
        heldChars = 0;
        writing = writing.then(() => writeRun(full, number));
      }
      await writing;
    },
    get count() {
      return count;
    },
    async *sorted() {
      await writing;
      held.sort(byName);
      yield* merged([...runs.map(readRun), inMemory(held)], byName);
    },
    async [Symbol.asyncDispose]() {
      await writing.catch(() => undefined); // whoever added was told
      if (dir) await rm(await dir, { recursive: true, force: true });
    },
  };
}

function byName(a: Entry, b: Entry): number {
  return byteOrder(a.name, b.name);
}

function* rendered(entries: readonly Entry[]): Iterable<string> {
  for (let at = 0; at < entries.length; at += PIECE_ENTRIES) {
    const piece = entries.slice(at, at + PIECE_ENTRIES);
    yield piece.map(({ name, text }) => `${JSON.stringify([name, text])}\n`).join('');
  }
}

async function* readRun(path: string): AsyncIterable<readonly Entry[]> {
  for await (const lines of lineBatchesOf(createReadStream(path))) yield lines.map(parsed);
}

function parsed(line: string): Entry {
  const [name, text] = JSON.parse(line) as [string, string];
  return { name, text };
}

async function* inMemory(entries: readonly Entry[]): AsyncIterable<readonly Entry[]> {
  yield entries;
}
