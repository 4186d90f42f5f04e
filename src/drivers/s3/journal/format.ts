// What is in a range of the journal: a line of JSON, and the bytes of objects. The line says which parts these are, as
// points name them, which objects there are now, and what is gone.

import { z } from 'zod';
import { Failure } from '../../../core/errors.ts';
import { type JournalRange, RANGE_BYTES_MAX } from '../../../core/journal.ts';
import { bucketSchema } from '../buckets.ts';
import { type Entry, entryFrom, entryJson } from '../entries.ts';

const LINE_END = 10;
const count = z.number().int().nonnegative();

const part = z.object({
  name: z.string(),
  bytes: count,
  /** Of a large object: this and the next ranges have its bytes. */
  piece: z.enum(['first', 'middle', 'last']).optional(),
});
const gone = z.object({ bucket: z.string(), key: z.string(), version: z.string().nullable() });
const header = z.object({
  format: z.literal(1),
  /** Milliseconds of the server's clock: what was changed from the one moment to the other was seen. */
  round: z.tuple([count, count]),
  /** When the look began. */
  looked: count,
  parts: z.array(part),
  /** Their parts lie here or in ranges before. Some were changed after the round's moment already. */
  entries: z.array(z.unknown()),
  gone: z.array(gone),
  /** Those that are new or set otherwise. */
  buckets: z.array(bucketSchema),
  buckets_gone: z.array(z.string()),
});

export type LoggedPart = z.output<typeof part>;
export type Gone = z.output<typeof gone>;
export interface Header extends Omit<z.output<typeof header>, 'entries'> {
  readonly entries: readonly Entry[];
}

export function rangeBody(head: Header, bodies: readonly Uint8Array[]): Buffer {
  const line = JSON.stringify({ ...head, entries: head.entries.map(entryJson) });
  const body = Buffer.concat([Buffer.from(`${line}\n`), ...bodies]);
  if (body.length <= RANGE_BYTES_MAX) return body;
  throw new Failure('value-too-large', 's3: what belongs to some objects has no room in a range of the journal');
}

/** The bytes are borrowed from the range. */
export function readRange({ body, from }: Pick<JournalRange, 'body' | 'from'>): { head: Header; data: Buffer } {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  const end = bytes.indexOf(LINE_END);
  try {
    const { entries, ...head } = header.parse(JSON.parse(bytes.toString('utf8', 0, Math.max(0, end))));
    const data = bytes.subarray(end + 1);
    const told = head.parts.reduce((sum, each) => sum + each.bytes, 0);
    if (told !== data.length) throw new Error(`it has ${data.length} bytes instead of ${told}`);
    return { head: { ...head, entries: entries.map(checkedEntry) }, data };
  } catch (cause) {
    throw new Failure('malformed', `the range of the journal at ${from.position} is not what we write`, { cause });
  }
}

function checkedEntry(value: unknown): Entry {
  const entry = entryFrom(value);
  if (!entry) throw new Error('an entry is none');
  return entry;
}
