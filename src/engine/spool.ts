// Lists that may be long are sorted outside memory: runs in scratch files, merged while they are read.

import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { byteOrder, lineBatchesOf } from '../core/bytes.ts';
import { merged } from '../core/merged.ts';
import type { Context } from '../core/model.ts';

/** How many entries are held in memory before they become a file: some 10 MB. */
const RUN_ENTRIES_MAX = 50_000;

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

/** `runEntriesMax` is for tests. */
export function spool(ctx: Context, runEntriesMax = RUN_ENTRIES_MAX): Spool {
  let held: Entry[] = [];
  let count = 0;
  let dir: Promise<string> | undefined;
  const runs: string[] = [];
  let writing: Promise<void> = Promise.resolve();

  async function writeRun(entries: Entry[], number: number): Promise<void> {
    dir ??= mkdtemp(join(ctx.scratch, 'spool-'));
    const path = join(await dir, String(number));
    await writeFile(path, entries.sort(byName).map(rendered).join(''), { mode: 0o600 });
    runs.push(path);
  }

  return {
    async add(entries) {
      for (const entry of entries) held.push(entry);
      count += entries.length;
      if (held.length >= runEntriesMax) {
        const [full, number] = [held, count];
        held = [];
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

function rendered({ name, text }: Entry): string {
  return `${JSON.stringify([name, text])}\n`;
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
