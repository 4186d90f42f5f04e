import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../core/bytes.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { attributesOf, ENTRIES_PART, type Entry, entriesOf, entryLine, metadataOf } from './entries.ts';

const YEAR_0_NS = -62_167_219_200_000_000_000n;
const YEAR_10000_NS = 253_402_300_800_000_000_000n;

test('a time before the year 0 or after 9999 is stored as the nearest that every reader of a store takes', async () => {
  for (const [mtimeNs, stored, told] of [
    [1_100_000_000_123_456_789n, '1100000000123456789', '2004-11-09T11:33:20.123Z'],
    [YEAR_0_NS, '-62167219200000000000', '0000-01-01T00:00:00.000Z'],
    [YEAR_0_NS - 1n, '-62167219200000000000', '0000-01-01T00:00:00.000Z'],
    [YEAR_10000_NS - 1n, '253402300799999999999', '9999-12-31T23:59:59.999Z'],
    [YEAR_10000_NS, '253402300799999999999', '9999-12-31T23:59:59.999Z'],
    [2n ** 63n * 1_000_000_000n, '253402300799999999999', '9999-12-31T23:59:59.999Z'],
  ] as const) {
    const entry: Entry = {
      name: '/x',
      ...metadataOf({ mode: 0o100644n, uid: 0n, gid: 0n, mtimeNs }),
      type: 'file',
    };
    assert.equal(entry.mtime_ns, stored);
    assert.equal(attributesOf(entry).mtime, told);
    const ctx = liveContext();
    const { sink, source } = memoryParts();
    await sink.put(ctx, ENTRIES_PART, bytesOf(entryLine(entry)));
    assert.deepEqual(await Array.fromAsync(entriesOf(ctx, source)), [entry]);
  }
});
