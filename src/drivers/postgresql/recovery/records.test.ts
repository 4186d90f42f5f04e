import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LogRecord, recordReader } from './records.ts';

const PAGE = 8192;
const SEGMENT = 2 ** 20;
const AT = 5 * SEGMENT;
/** Microseconds since 2000 of 2026-01-01T00:00:00.000007Z. */
const TIME = BigInt(Date.UTC(2026, 0, 1) - Date.UTC(2000, 0, 1)) * 1000n + 7n;

/** Of `bytes` in all: a commit with its time, or something else. */
function record(bytes: number, kind: 'commit' | 'other' | 'switch'): Buffer {
  const body = Buffer.alloc(bytes);
  body.writeUInt32LE(bytes, 0);
  body[16] = kind === 'switch' ? 0x40 : 0;
  body[17] = kind === 'commit' ? 1 : kind === 'switch' ? 0 : 10;
  if (kind === 'commit') {
    body[24] = 252; // of a transaction within another
    body[29] = 255;
    body.writeBigInt64LE(TIME, 31);
  }
  return body;
}

/** A log of one segment, as a server lays records out in pages. */
function logOf(records: readonly Buffer[]): Buffer {
  const log = Buffer.alloc(SEGMENT);
  let at = 0;
  const open = (rest: number): void => {
    if (at % PAGE !== 0) return;
    log.writeUInt16LE(0xd110, at);
    log.writeUInt16LE((at === 0 ? 2 : 0) + (rest > 0 ? 1 : 0), at + 2);
    log.writeBigUInt64LE(BigInt(AT + at), at + 8);
    log.writeUInt32LE(rest, at + 16);
    at += at === 0 ? 40 : 24;
  };
  for (const body of records) {
    for (let done = 0; done < body.length; ) {
      open(done === 0 ? 0 : body.length - done);
      const bytes = Math.min(body.length - done, PAGE - (at % PAGE));
      body.copy(log, at, done, done + bytes);
      done += bytes;
      at += bytes;
    }
    at = Math.ceil(at / 8) * 8;
  }
  return log;
}

function read(log: Buffer, pieceBytes: number, from = 0, isRecord = false): LogRecord[] {
  const reader = recordReader(AT + from, { segmentBytes: SEGMENT, isRecord });
  const found: LogRecord[] = [];
  for (let at = from; at < log.length; at += pieceBytes) found.push(...reader.push(log.subarray(at, at + pieceBytes)));
  return [...found, ...reader.end()];
}

const RECORDS = [record(100, 'other'), record(50, 'commit'), record(3 * PAGE, 'other'), record(60, 'commit')];

test('records are found in pages, whatever pieces the log comes in', () => {
  const log = logOf(RECORDS);
  const found = read(log, log.length);
  assert.deepEqual(
    found.map(({ at, endedAt, isCommit }) => [at - AT, endedAt, isCommit]),
    [
      [40, null, false],
      [144, '2026-01-01T00:00:00.000007Z', true],
      [200, null, false],
      [200 + 3 * PAGE + 3 * 24, '2026-01-01T00:00:00.000007Z', true],
    ],
  );
  for (const bytes of [1, 7, 4096, 10_000]) assert.deepEqual(read(log, bytes), found);
});

test('a log that begins anywhere is read from the first record that a page tells of', () => {
  const log = logOf(RECORDS);
  const all = read(log, log.length);
  assert.deepEqual(read(log, 1000, 144, true), all.slice(1));
  assert.deepEqual(read(log, 1000, 150), all.slice(3));
  assert.deepEqual(read(log, 1000, PAGE * 2 + 100), all.slice(3));
});

test('what was in the file before is no part of the log, and nor is a record that is cut short', () => {
  const log = logOf(RECORDS);
  const all = read(log, log.length);
  assert.deepEqual(read(log.subarray(0, 2 * PAGE), 1000), all.slice(0, 2));
  const reused = logOf([...RECORDS, ...RECORDS]);
  for (let at = 4 * PAGE; at < SEGMENT; at += PAGE) reused.writeBigUInt64LE(BigInt(AT - SEGMENT + at), at + 8);
  assert.deepEqual(read(reused, 1000).slice(0, 4), all);
  assert.ok(read(reused, 1000).every(({ end }) => end <= AT + 4 * PAGE));
});

test('after a switch the rest of the segment is empty', () => {
  const log = logOf([record(50, 'commit'), record(24, 'switch'), record(60, 'commit')]);
  assert.equal(read(log, log.length).length, 2);
});
