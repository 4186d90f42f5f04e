// The index of a component: one line for each part, in byte order of name, and where its bytes lie.

import assert from 'node:assert/strict';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { batched, linesOf } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context, Part } from '../../core/model.ts';

/** Entries held in memory before they are sorted into a scratch file. */
const RUN_ENTRIES = 50_000;
const SURROGATE = /[\ud800-\udfff]/;

const entrySchema = z.object({
  name: z.string(),
  bytes: z.number().int().nonnegative(),
  sha256: z.string().length(64),
  key: z.string(),
  gzip: z.boolean(),
  stored: z.object({ bytes: z.number().int().nonnegative(), sha256: z.string().length(64) }),
  attributes: z
    .object({ mode: z.number().int(), uid: z.number().int(), gid: z.number().int(), mtime: z.string() })
    .optional(),
});
export type Entry = z.output<typeof entrySchema>;

export function partOf(entry: Entry, point: string, component: string): Part {
  const { name, bytes, attributes } = entry;
  return { name, bytes, digest: `sha256:${entry.sha256}`, point, component, ...(attributes ? { attributes } : {}) };
}

export function parseEntry(line: string, where: string): Entry {
  try {
    return entrySchema.parse(JSON.parse(line));
  } catch (cause) {
    throw new Failure('malformed', `the part list of ${where} has a line that is none`, { cause });
  }
}

/** The order of UTF-8 bytes is that of UTF-16 units unless surrogate pairs occur. */
export function compareBytes(a: string, b: string): number {
  if (SURROGATE.test(a) || SURROGATE.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Sorts any number of entries with bounded memory. */
export interface EntrySpool extends AsyncDisposable {
  add(entry: Entry): Promise<void>;
  /** All of them as the lines of an index. Nothing is added after it. */
  lines(): Bytes;
}

export function entrySpool(ctx: Context): EntrySpool {
  const runs: string[] = [];
  let held: Entry[] = [];
  let dir: Promise<string> | undefined;
  let writing: Promise<void> = Promise.resolve();

  async function writeRun(entries: Entry[]): Promise<void> {
    dir ??= mkdtemp(join(ctx.scratch, 'part-list-'));
    const file = join(await dir, String(runs.length));
    runs.push(file);
    await pipeline(Readable.from(batched(rendered(sorted(entries)))), createWriteStream(file));
  }
  return {
    async add(entry) {
      held.push(entry);
      if (held.length < RUN_ENTRIES) return await writing;
      const full = held;
      held = [];
      writing = writing.then(() => writeRun(full));
      await writing;
    },
    async *lines() {
      await writing;
      const files = runs.map((file) => fileEntries(file));
      yield* batched(rendered(unique(merged([...files, listed(sorted(held))]))));
    },
    async [Symbol.asyncDispose]() {
      await writing.catch(() => undefined); // `add` has thrown it
      if (dir) await rm(await dir, { recursive: true, force: true });
    },
  };
}

function sorted(entries: Entry[]): Entry[] {
  return entries.sort((a, b) => compareBytes(a.name, b.name));
}

async function* rendered(entries: AsyncIterable<Entry> | Iterable<Entry>): AsyncIterable<string> {
  for await (const entry of entries) yield `${JSON.stringify(entry)}\n`;
}

async function* fileEntries(file: string): AsyncGenerator<Entry> {
  for await (const line of linesOf(createReadStream(file))) yield parseEntry(line, file);
}

async function* listed(entries: readonly Entry[]): AsyncGenerator<Entry> {
  yield* entries;
}

/** There are few runs, so the smallest is looked for among all. */
async function* merged(runs: readonly AsyncGenerator<Entry>[]): AsyncIterable<Entry> {
  const heads = await Promise.all(runs.map((run) => run.next()));
  for (;;) {
    let least = -1;
    for (const [at, head] of heads.entries()) {
      const best = heads[least];
      if (!head.done && (!best || best.done || compareBytes(head.value.name, best.value.name) < 0)) least = at;
    }
    const [head, run] = [heads[least], runs[least]];
    if (!head || head.done || !run) return;
    yield head.value;
    heads[least] = await run.next();
  }
}

async function* unique(entries: AsyncIterable<Entry>): AsyncIterable<Entry> {
  let before: string | undefined;
  for await (const entry of entries) {
    assert(entry.name !== before, `part ${entry.name} was put twice`);
    before = entry.name;
    yield entry;
  }
}
