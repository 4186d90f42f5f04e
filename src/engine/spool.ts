// Lists that may be long are sorted outside memory: runs in scratch files, merged while they are read.

import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { linesOf } from '../core/bytes.ts';
import type { Context } from '../core/model.ts';

/** How many entries are held in memory before they become a file. */
const RUN_ENTRIES_MAX = 20_000;

export interface Entry {
  readonly name: string;
  /** One line of JSON. */
  readonly line: string;
}

export interface Spool extends AsyncDisposable {
  /** Waits while a full run is written, so that adding faster than the disk does not fill the memory. */
  add(name: string, value: unknown): Promise<void>;
  readonly count: number;
  /** All of them in byte order of name. May be read once nothing is added any more. */
  sorted(): AsyncIterable<Entry>;
}

/** `runEntriesMax` is for tests. */
export function spool(ctx: Context, runEntriesMax = RUN_ENTRIES_MAX): Spool {
  let held: Keyed[] = [];
  let count = 0;
  let dir: Promise<string> | undefined;
  const runs: string[] = [];
  let writing: Promise<void> = Promise.resolve();

  async function writeRun(entries: Keyed[], number: number): Promise<void> {
    dir ??= mkdtemp(join(ctx.scratch, 'spool-'));
    const path = join(await dir, String(number));
    await writeFile(path, entries.sort(byKey).map(rendered).join(''), { mode: 0o600 });
    runs.push(path);
  }

  return {
    async add(name, value) {
      held.push({ key: Buffer.from(name), name, line: JSON.stringify(value) });
      count += 1;
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
      held.sort(byKey);
      yield* merged([...runs.map(readRun), fromMemory(held)]);
    },
    async [Symbol.asyncDispose]() {
      await writing.catch(() => undefined); // whoever added was told
      if (dir) await rm(await dir, { recursive: true, force: true });
    },
  };
}

/** Compares names as stores order them: by their UTF-8 bytes. */
export function byteOrder(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

interface Keyed extends Entry {
  readonly key: Buffer;
}

function byKey(a: Keyed, b: Keyed): number {
  return Buffer.compare(a.key, b.key);
}

function rendered({ name, line }: Entry): string {
  return `${JSON.stringify([name, line])}\n`;
}

async function* readRun(path: string): AsyncGenerator<Keyed> {
  for await (const text of linesOf(createReadStream(path))) {
    const [name, line] = JSON.parse(text) as [string, string];
    yield { key: Buffer.from(name), name, line };
  }
}

async function* fromMemory(entries: readonly Keyed[]): AsyncGenerator<Keyed> {
  yield* entries;
}

async function* merged(sources: readonly AsyncGenerator<Keyed>[]): AsyncIterable<Entry> {
  const heads = await Promise.all(sources.map((source) => source.next()));
  try {
    for (;;) {
      let least = -1;
      for (const [at, head] of heads.entries()) {
        if (head.done) continue;
        const best = heads[least];
        if (!best || best.done || byKey(head.value, best.value) < 0) least = at;
      }
      const [head, source] = [heads[least], sources[least]];
      if (!head || head.done || !source) return;
      yield { name: head.value.name, line: head.value.line };
      heads[least] = await source.next();
    }
  } finally {
    await Promise.all(sources.map((source) => source.return(undefined)));
  }
}
