// What is in a range of the journal: a line of JSON, then log lines as in the parts of a point.

import { z } from 'zod';
import { Failure } from '../../../core/errors.ts';
import { shapedLine } from '../../../core/inventory.ts';
import { type JournalRange, RANGE_BYTES_MAX } from '../../../core/journal.ts';
import type { Json } from '../../../core/model.ts';
import { type Line, lineFrom } from '../lines.ts';
import type { Settings } from '../settings.ts';

const count = z.number().int().nonnegative();
const header = z.object({
  format: z.literal(1),
  /** Milliseconds: what was seen from the one moment to the other, whatever time the lines have. */
  round: z.tuple([count, count]),
  lines: count,
});
export type Header = z.output<typeof header>;

/** Which log it is. */
export function sourceOf({ url, tenant, selector }: Settings): Json {
  return { url, tenant, selector };
}

export function rangeBody(head: Header, texts: readonly string[]): Buffer {
  const body = Buffer.from(`${JSON.stringify(head)}\n${texts.join('')}`);
  if (body.length <= RANGE_BYTES_MAX) return body;
  throw new Failure('value-too-large', 'loki: a line has no room in a range of the journal');
}

export function readRange({ body, from }: Pick<JournalRange, 'body' | 'from'>): { head: Header; lines: Line[] } {
  const what = `the range of the journal at ${from.position}`;
  const [first = '', ...texts] = Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8').split('\n');
  const parsed = header.safeParse(jsonOf(first));
  const lines = texts.filter((text) => text !== '').map((text) => shapedLine(text, lineFrom, what));
  if (!parsed.success || parsed.data.lines !== lines.length) {
    throw new Failure('malformed', `${what} is not what we write`, { cause: parsed.error });
  }
  return { head: parsed.data, lines };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
