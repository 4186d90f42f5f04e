// What is in a range of the journal: a line of JSON, then record batches as in the parts of a point. The line says
// of which logs, and what else has changed at the end of the round that the range is of.

import { z } from 'zod';
import { Failure } from '../../../core/errors.ts';
import { type JournalRange, RANGE_BYTES_MAX } from '../../../core/journal.ts';
import { aclFacts, authorizerFacts, committedFacts, offsetFact, topicFacts } from '../facts.ts';

const LINE_END = 10;
const ms = z.number().int().nonnegative();

const log = z.object({
  topic: z.string(),
  /** Of the topic: one that was made anew under the same name has another. */
  id: z.string(),
  partition: offsetFact,
  /** All that is to be had of these offsets, up to before `to`. */
  from: offsetFact,
  to: offsetFact,
  bytes: offsetFact,
  /** Of one batch that no range has room for: this and the next ones have its bytes. */
  piece: z.enum(['first', 'middle', 'last']).optional(),
});
const group = z.object({
  group: z.string(),
  state: z.string(),
  offsets: z.array(committedFacts.omit({ position: true })),
});
const changes = z.object({
  /** Nothing else is there. Else what is not named is as it was. */
  all: z.boolean(),
  version: z.string(),
  authorizer: authorizerFacts,
  /** `end` of a partition is where its log is gone on with. */
  topics: z.array(topicFacts),
  topics_gone: z.array(z.string()),
  groups: z.array(group),
  groups_gone: z.array(z.string()),
  /** Null when they are as before. */
  acls: z.array(aclFacts).nullable(),
});
const header = z.object({
  format: z.literal(1),
  /** What came from the one moment to the other. */
  round: z.tuple([ms, ms]),
  /** The newest range, up to this one, that says all there is: an earlier one need not be read to go on. */
  whole: z.string(),
  /** From here on it can be replayed: a point that joins before can't. */
  joins: z.string(),
  logs: z.array(log),
  changes: changes.nullable(),
});

export type Header = z.output<typeof header>;
export type LoggedPiece = z.output<typeof log>;
export type LoggedGroup = z.output<typeof group>;
export type Changes = z.output<typeof changes>;

export function rangeBody(head: Header, batches: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), ...batches]);
  if (body.length <= RANGE_BYTES_MAX) return body;
  const what = `${head.changes?.topics.length ?? 0} topics and ${head.changes?.groups.length ?? 0} groups`;
  throw new Failure('value-too-large', `kafka: what is to be said of ${what} has no room in a range of the journal`, {
    hint: 'make several components of the cluster, each with some of its topics and groups',
  });
}

/** What lies behind its line, too. Borrowed from the range. */
export function readRange({ body, from }: Pick<JournalRange, 'body' | 'from'>): { head: Header; data: Buffer } {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  const end = bytes.indexOf(LINE_END);
  try {
    const head = header.parse(JSON.parse(bytes.toString('utf8', 0, Math.max(0, end))));
    const data = bytes.subarray(end + 1);
    const told = head.logs.reduce((sum, each) => sum + each.bytes, 0);
    if (told !== data.length) throw new Error(`it has ${data.length} bytes instead of ${told}`);
    return { head, data };
  } catch (cause) {
    throw new Failure('malformed', `the range of the journal at ${from.position} is not what we write`, { cause });
  }
}
