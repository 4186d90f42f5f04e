// What tests of fetching share: a journal of a log that is made here, and data directories that ask for it. A page
// header is all that tells its segments from noise.

import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Journal, JournalWriter, LineageStart } from '../../../core/journal.ts';
import type { Cut } from '../../../core/model.ts';
import { testContext } from '../../../core/testing.ts';
import { logFileName } from '../wal/files.ts';
import { positionAt } from '../wal/positions.ts';
import { emptyJournal } from './testing.ts';

export const SEGMENT = 2 ** 20;
export const SYSTEM = '7710993605400964491';
const ctx = testContext();

function cut(at: number): Cut {
  return { position: positionAt(at), at: '2026-01-01T00:00:00Z' };
}

/** Of a log in which each timeline has other bytes, from `from` to `to`. */
export function logBytes(from: number, to: number, timeline = 1, system = SYSTEM): Buffer {
  const bytes = Buffer.alloc(to - from);
  for (let at = from; at < to; at++) bytes[at - from] = (at * 7 + Math.floor(at / 256) * timeline) % 251;
  for (let at = Math.floor(from / SEGMENT) * SEGMENT; at < to; at += SEGMENT) {
    const head = Buffer.alloc(40);
    head.writeBigUInt64LE(BigInt(at), 8);
    head.writeBigUInt64LE(BigInt(system), 24);
    head.writeUInt32LE(SEGMENT, 32);
    for (const [i, byte] of head.entries()) if (at + i >= from && at + i < to) bytes[at + i - from] = byte;
  }
  return bytes;
}

/** Ranges that end there; a negative end is that of a gap. */
export async function feed(
  writer: JournalWriter,
  at: number,
  ends: readonly number[],
  timeline = 1,
  system = SYSTEM,
): Promise<void> {
  let from = at;
  for (const end of ends) {
    const to = Math.abs(end);
    if (end < 0) await writer.gap(ctx, { from: cut(from), to: cut(to), at: cut(to).at, reason: 'the slot was lost' });
    else {
      const body = logBytes(from, to, timeline, system);
      await writer.append(ctx, { from: cut(from), to: cut(to), at: cut(to).at, body });
    }
    from = to;
  }
}
export function start(at: number, timeline = 1, parent: LineageStart['parent'] = null): LineageStart {
  return { from: cut(at), base: null, why: 'first', source: { system: SYSTEM, timeline }, parent };
}

export async function journalOf(fill: (writer: JournalWriter) => Promise<unknown>): Promise<Journal> {
  const journal = await emptyJournal(ctx);
  await using writer = await journal.write(ctx);
  await fill(writer);
  return journal;
}

/** A data directory with the segments that its base backup brought. */
export function dataDir(home: string, ...own: readonly { name: string; bytes: Buffer }[]): string {
  const dir = mkdtempSync(join(home, 'data-'));
  for (const folder of ['global', 'pg_wal', 'pg_wal/lifeboat']) mkdirSync(join(dir, folder));
  const control = Buffer.alloc(8);
  control.writeBigUInt64LE(BigInt(SYSTEM));
  writeFileSync(join(dir, 'global/pg_control'), control);
  for (const { name, bytes } of [{ name: `${'0'.repeat(23)}1`, bytes: Buffer.alloc(SEGMENT) }, ...own]) {
    writeFileSync(join(dir, 'pg_wal', name), bytes);
  }
  return dir;
}
export function named(number: number, timeline = 1): string {
  return logFileName({ timeline, number }, SEGMENT);
}
