import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { duration, formatDuration, nearest, parseDuration, parseSettings, parseSize, size } from './settings.ts';

test('a duration is written as it is read, with hours up to two days', () => {
  const known = { '15m': 900_000, '1h30m': 5_400_000, '24h': 86_400_000, '30d': 2_592_000_000, '2d1h': 176_400_000 };
  for (const [text, ms] of Object.entries({ ...known, '0s': 0, '1s5ms': 1005 })) assert.equal(formatDuration(ms), text);
  fc.assert(fc.property(fc.nat(2 ** 40), (ms) => parseDuration(formatDuration(ms)) === ms));
});

test('durations are written as people say them', () => {
  const known = {
    '250ms': 250,
    '15m': 900_000,
    '1h30m': 5_400_000,
    '1.5h': 5_400_000,
    '30d': 2_592_000_000,
    '2w': 1_209_600_000,
  };
  for (const [text, ms] of Object.entries(known)) assert.equal(parseDuration(text), ms, text);
  for (const text of ['', '15', 'm', '-1h', '1 h', '1h ', '1y', '1e3s', '١h'])
    assert.equal(parseDuration(text), null, text);
});

test('sizes tell thousands from powers of two', () => {
  const known = { '500MiB': 524_288_000, '2GB': 2_000_000_000, '1.5 KiB': 1536, '7': 7, '3B': 3, '1kB': 1000 };
  for (const [text, bytes] of Object.entries(known)) assert.equal(parseSize(text), bytes, text);
  for (const text of ['', 'MiB', '-1B', '1 mib', '1KiBB', '0x10']) assert.equal(parseSize(text), null, text);
});

test('what the schema takes is what the parser takes', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9.]{1,4} ?(ms|s|m|h|d|w|B|kB|KB|MB|GiB|TiB|x)?$/), (text) => {
      assert.equal(duration.safeParse(text).success, parseDuration(text) !== null, text);
      assert.equal(size.safeParse(text).success, parseSize(text) !== null, text);
    }),
  );
  assert.equal(size.parse(12), 12);
});

test('every wrong field is named at once', () => {
  const schema = z.strictObject({ host: z.string(), port: z.number(), tls: z.strictObject({ ca: z.string() }) });
  assert.throws(
    () => parseSettings(schema, { host: 1, tls: { ca: true }, prot: 2 }, 'main-db'),
    (error: Error) => {
      for (const word of ['main-db: ', 'host: ', 'port: ', 'tls.ca: ', 'prot'])
        assert.ok(error.message.includes(word), word);
      return 'code' in error && error.code === 'settings-invalid';
    },
  );
});

test('a mistyped word is near to the one that was meant', () => {
  const known = ['password', 'databases', 'host', 'port', 'keep', 'plans'];
  for (const [word, meant] of [
    ['pasword', 'password'],
    ['prot', 'port'],
    ['Databse', 'databases'],
    ['plan', 'plans'],
  ] as const) {
    assert.equal(nearest(word, known), meant);
  }
  assert.equal(nearest('elephant', known), null);
  assert.equal(nearest('x', []), null);
});
