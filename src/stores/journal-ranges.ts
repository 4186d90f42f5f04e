// A range as it is stored: a line of JSON that says what it is and which one it follows, then its bytes, sealed.

import { hash } from 'node:crypto';
import { z } from 'zod';
import { readAll } from '../core/bytes.ts';
import { Failure, messageOf } from '../core/errors.ts';
import { type JournalRange, RANGE_BYTES_MAX } from '../core/journal.ts';
import type { Clock, Context, Cut } from '../core/model.ts';
import { type Entry, entryName, isPosition, type JournalVault } from './journal-names.ts';

const HEADER_BYTES_MAX = 64 * 1024;
const PLAIN_BYTES_MAX = RANGE_BYTES_MAX + HEADER_BYTES_MAX;
const ROOM_BYTES_MIN = 64 * 1024;
/** What zstd and the seal may add to what can't be compressed. */
const STORED_BYTES_MAX = PLAIN_BYTES_MAX + 1024 * 1024;
const LINE_FEED = 10;

export const cutSchema = z.object({ position: z.string().refine(isPosition), at: z.iso.datetime({ offset: true }) });
const headerSchema = z.object({
  format: z.literal(1),
  component: z.string(),
  lineage: z.string(),
  from: cutSchema,
  to: cutSchema,
  at: z.iso.datetime({ offset: true }),
  clock: z.object({ ahead_ms: z.number(), error_ms: z.number().nonnegative() }).nullable().default(null),
  previous: z.string(),
  gap: z.string().nullable(),
});

type Header = z.output<typeof headerSchema>;

/** Which lineage of which component. */
export interface Whose {
  readonly component: string;
  readonly lineage: string;
}
/** A range, or a gap: with a reason and without bytes. */
export interface Content extends JournalRange {
  readonly gap: string | null;
}
export interface Sealed {
  readonly entry: Entry;
  readonly to: Cut;
  readonly stored: Buffer;
}

/** Sealed, and opened again: what can't be read back is not stored. */
export function sealRange(
  vault: JournalVault,
  { component, lineage }: Whose,
  folder: string,
  content: Content,
  previous: string,
): Sealed {
  const { from, to, at, clock, gap, body } = content;
  if (body.length > RANGE_BYTES_MAX) {
    throw new Failure('value-too-large', `a range of ${body.length} bytes is larger than ${RANGE_BYTES_MAX}`);
  }
  const header = headerSchema.parse({
    format: 1,
    component,
    lineage,
    from,
    to,
    at,
    clock: clockJson(clock),
    previous,
    gap,
  });
  const line = Buffer.from(`${JSON.stringify(header)}\n`);
  if (line.length > HEADER_BYTES_MAX) throw new Failure('value-too-large', 'the header of a range is too large');
  const plain = joined(line, body);
  const stored = vault.seal(plain);
  if (!vault.holds(stored, plain)) {
    throw new Failure('checksum', `a range of ${component} from ${from.position} can't be read back as it was sealed`);
  }
  const sha256 = hash('sha256', stored, 'hex');
  const name = { from: from.position, to: to.position, sha256, isGap: gap !== null };
  return { entry: { ...name, key: folder + entryName(name), folder, bytes: stored.length }, to, stored };
}

let room = Buffer.alloc(0);

/** In memory that is used again: it costs more to get new pages than to fill them. Valid until the next call. */
function joined(line: Uint8Array, body: Uint8Array): Buffer {
  const bytes = line.length + body.length;
  if (room.length < bytes)
    room = Buffer.allocUnsafeSlow(Math.min(PLAIN_BYTES_MAX, Math.max(2 * bytes, ROOM_BYTES_MIN)));
  room.set(line);
  room.set(body, line.length);
  return room.subarray(0, bytes);
}

/**
 * What the entry holds, when it is what its name says, of this lineage, and follows the one that it must
 * (`previous`; null where nobody knows that one). 'checksum' else: read twice, as a bad read may be a transient one.
 */
export async function openRange(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  entry: Entry,
  previous: string | null,
): Promise<Content> {
  const where = `${vault.bucket.url}: ${entry.key}`;
  let stored = await readStored(ctx, vault, entry);
  if (hash('sha256', stored, 'hex') !== entry.sha256) stored = await readStored(ctx, vault, entry);
  if (hash('sha256', stored, 'hex') !== entry.sha256) throw new Failure('checksum', `${where} was changed`);
  const plain = unsealed(vault, stored, where);
  const end = plain.indexOf(LINE_FEED);
  const header = parseHeader(plain.subarray(0, Math.max(0, end)), where);
  const { from, to, at, gap } = header;
  if (header.component !== whose.component || header.lineage !== whose.lineage) {
    throw new Failure('checksum', `${where} is of lineage ${header.lineage} of ${header.component}`);
  }
  if (from.position !== entry.from || to.position !== entry.to || (gap !== null) !== entry.isGap) {
    throw new Failure('checksum', `${where} holds ${from.position} to ${to.position}: it was renamed`);
  }
  if (previous !== null && header.previous !== previous) {
    throw new Failure('checksum', `${where} does not follow the range that lies before it`);
  }
  return { from, to, at, ...clockIn(header), gap, body: plain.subarray(end + 1) };
}

async function readStored(ctx: Context, { bucket }: JournalVault, { key }: Entry): Promise<Buffer> {
  try {
    return await readAll(bucket.get(ctx, key), STORED_BYTES_MAX);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Failure('checksum', `${bucket.url}: ${key} is larger than any range`, { cause: error });
  }
}

function unsealed(vault: JournalVault, stored: Buffer, where: string): Buffer {
  try {
    return vault.open(stored, PLAIN_BYTES_MAX);
  } catch (cause) {
    throw new Failure('checksum', `${where} can not be unsealed: ${messageOf(cause)}`, { cause });
  }
}

function parseHeader(line: Buffer, where: string): Header {
  try {
    return headerSchema.parse(JSON.parse(line.toString('utf8')));
  } catch (cause) {
    throw new Failure('malformed', `${where} has no header`, { cause });
  }
}

function clockJson(clock: Clock | undefined): Header['clock'] {
  return clock ? { ahead_ms: clock.aheadMs, error_ms: clock.errorMs } : null;
}
function clockIn({ clock }: Header): Pick<Content, 'clock'> {
  return clock ? { clock: { aheadMs: clock.ahead_ms, errorMs: clock.error_ms } } : {};
}
