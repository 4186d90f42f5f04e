import assert from 'node:assert/strict';
import type { BigIntStats } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesOf } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import {
  attributesOf,
  ENTRIES_PART,
  type Entry,
  entriesOf,
  entryLine,
  entryUnlessChanged,
  fileEntry,
  metadataOf,
  nameInLine,
  seenOf,
} from './entries.ts';

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

const NAME = '/a "quoted" \\ name\nof \u{1f680}';
const STAT = {
  mode: 0o100644n,
  uid: 1000n,
  gid: 100n,
  size: 77n,
  ino: 12n,
  mtimeNs: 1_100_000_000_123_456_789n,
  ctimeNs: 1_200_000_000_123_456_789n,
} as Partial<BigIntStats> as BigIntStats;
const ENTRY: Entry = { ...fileEntry(NAME, STAT), bytes: 77, sha256: 'ab'.repeat(32), seen: seenOf(STAT) };

test('a line is the JSON of its entry, and begins with its name', () => {
  const text = fc.string({ unit: 'binary' });
  const entry = fc.record({
    name: text.map((name) => `/${name}`),
    type: fc.constantFrom('file' as const, 'symlink' as const, 'other' as const),
    mode: fc.nat(0o7777),
    uid: fc.nat(),
    gid: fc.nat(),
    mtime_ns: fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }).map(String),
    bytes: fc.option(fc.nat(), { nil: undefined }),
    sha256: fc.option(fc.constant('ab'.repeat(32)), { nil: undefined }),
    target: fc.option(text, { nil: undefined }),
    seen: fc.option(fc.record({ ino: fc.nat().map(String), ctime_ns: fc.nat().map(String) }), { nil: undefined }),
  });
  fc.assert(
    fc.property(entry, ({ name, ...rest }) => {
      const line = entryLine({ name, ...rest });
      assert.equal(line, `${JSON.stringify({ name, ...rest })}\n`);
      assert.equal(nameInLine(line, 'here'), name);
    }),
  );
  assert.throws(
    () => nameInLine('{"type":"file"}', 'here'),
    (error) => isFailure(error, 'malformed'),
  );
});

test('a file is unchanged when all that is known of it is what the line says', () => {
  const line = entryLine(ENTRY).trimEnd();
  assert.deepEqual(entryUnlessChanged(NAME, STAT, line), ENTRY);
  for (const [field, value] of Object.entries(STAT)) {
    assert.equal(entryUnlessChanged(NAME, { ...STAT, [field]: value + 1n } as BigIntStats, line), null, field);
  }
  assert.equal(entryUnlessChanged('/other', STAT, line), null);
});

test('what may have changed without a trace, is no file or has no digest is never taken for unchanged', () => {
  const others: Partial<Entry>[] = [
    { seen: undefined },
    { type: 'hardlink' },
    { sha256: undefined },
    { sha256: 'AB'.repeat(32) },
    { sha256: `${'ab'.repeat(32)}ab` },
    { target: '/x' },
  ];
  for (const other of others) {
    assert.equal(entryUnlessChanged(NAME, STAT, entryLine({ ...ENTRY, ...other }).trimEnd()), null);
  }
  assert.equal(entryUnlessChanged(NAME, STAT, ''), null);
});
