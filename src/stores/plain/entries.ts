// The index of a component: one line for each part, in byte order of name, and where its bytes lie.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { batched, byteOrder } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { ByteRange, Bytes, Context, Part } from '../../core/model.ts';
import { sorter } from '../../core/sorter.ts';

/** Of an entry's line, beside its names. */
const ENTRY_CHARS = 300;

const entrySchema = z.object({
  name: z.string(),
  bytes: z.number().int().nonnegative(),
  sha256: z.string().length(64),
  key: z.string(),
  gzip: z.boolean(),
  stored: z.object({ bytes: z.number().int().nonnegative(), sha256: z.string().length(64) }),
  /** Where it begins in a file that has several parts. */
  offset: z.number().int().nonnegative().optional(),
  attributes: z
    .object({ mode: z.number().int(), uid: z.number().int(), gid: z.number().int(), mtime: z.string() })
    .optional(),
});
export type Entry = z.output<typeof entrySchema>;

/** What the part has of its file: all of it when this is undefined. */
export function placeIn({ offset, stored }: Entry): ByteRange | undefined {
  return offset === undefined ? undefined : { offset, length: stored.bytes };
}

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

/** Sorts any number of entries with bounded memory. */
export interface EntrySpool extends AsyncDisposable {
  add(entries: readonly Entry[]): Promise<void>;
  /** All of them as the lines of an index. Nothing is added after it. */
  lines(): Bytes;
}

export function entrySpool(ctx: Context): EntrySpool {
  const entries = sorter<Entry>(ctx.scratch, 'the part list', {
    order: (a, b) => byteOrder(a.name, b.name),
    lineOf: (entry) => JSON.stringify(entry),
    itemOf: (line) => parseEntry(line, 'a draft'),
    charsOf: ({ name, key }) => name.length + key.length + ENTRY_CHARS,
  });
  return {
    add: entries.add,
    lines: () => batched(rendered(unique(entries.sorted()))),
    [Symbol.asyncDispose]: () => entries[Symbol.asyncDispose](),
  };
}

async function* rendered(entries: AsyncIterable<Entry>): AsyncIterable<string> {
  for await (const entry of entries) yield `${JSON.stringify(entry)}\n`;
}

async function* unique(batches: AsyncIterable<readonly Entry[]>): AsyncIterable<Entry> {
  let before: string | undefined;
  for await (const entries of batches) {
    for (const entry of entries) {
      assert(entry.name !== before, `part ${entry.name} was put twice`);
      before = entry.name;
      yield entry;
    }
  }
}
