// The format itself, without a server where that is enough.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { needServer } from '../../../../test/servers/need.ts';
import { redisNames, startRedis } from '../../../../test/servers/redis.ts';
import { Failure } from '../../../core/errors.ts';
import { inventoryFrom } from '../../../core/inventory.ts';
import type { InventoryLine } from '../../../core/model.ts';
import { addLanes, hashBytes, hexOf, lanes } from '../../../core/murmur.ts';
import { liveContext, memoryParts } from '../../../core/testing.ts';
import { capture, liveInventory, RDB_PART } from '../capture.ts';
import { compare } from '../compare.ts';
import { readSettings } from '../settings.ts';
import { fill, open } from '../testing.ts';
import { crc64Of } from './crc64.ts';
import { inputFrom, inputOf, PIECE_BYTES, viewed } from './input.ts';
import { scoreIn } from './listpack.ts';
import { selector } from './select.ts';
import { readElement, readText } from './strings.ts';
import { newTally } from './tally.ts';
import { walkRdb } from './walk.ts';

const EMPTY = withSum(Buffer.concat([Buffer.from('REDIS0011'), Buffer.from([255])]));

function withSum(body: Buffer): Buffer {
  return Buffer.concat([body, crc64Of(body)]);
}

function linesOf(rdb: Buffer, chunkBytes = rdb.length): InventoryLine[] {
  let at = 0;
  const input = inputFrom(() => (at >= rdb.length ? null : rdb.subarray(at, (at += chunkBytes))));
  const tally = newTally('full', null);
  walkRdb(input, tally.visitor);
  return tally.lines();
}

/** Strings as they are in an RDB: raw ones of any length. */
function rawString(text: Buffer): Buffer {
  const length = Buffer.alloc(5);
  length[0] = 0x80;
  length.writeUInt32BE(text.length, 1);
  return Buffer.concat([length, text]);
}

describe('the check sum', () => {
  test('is the one of Redis', () => {
    assert.equal(crc64Of(Buffer.from('123456789')).readBigUInt64LE(), 0xe9c6d914c4b8d9can);
  });
  test('is the same over pieces', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4_000 }), fc.integer({ min: 1, max: 997 }), (bytes, size) => {
        const name = Buffer.alloc(70_000, 'n');
        const body = Buffer.concat([Buffer.from('REDIS0011\0'), rawString(name), rawString(Buffer.from(bytes)), END]);
        assert.deepEqual(linesOf(withSum(body), size), linesOf(withSum(body)));
      }),
      { numRuns: 30 },
    );
  });
});
const END = Buffer.from([255]);

describe('digests', () => {
  const digest = (...parts: string[]): string => {
    const state = lanes();
    for (const part of parts) hashBytes(state, viewed(Buffer.from(part)).view, 0, Buffer.byteLength(part));
    return hexOf(state);
  };
  test('tell where one part ends and the next begins', () => {
    assert.notEqual(digest('ab', 'c'), digest('a', 'bc'));
    assert.notEqual(digest('a', ''), digest('a'));
    assert.notEqual(digest('a\0'), digest('a'));
  });
  test('of many keys do not collide', () => {
    const seen = new Set(Array.from({ length: 20_000 }, (_, n) => digest(`key:${n}`)));
    assert.equal(seen.size, 20_000);
  });
  test('add up to the same in any order', () => {
    const sums = [
      ['a', 'b', 'c'],
      ['c', 'a', 'b'],
    ].map((order) => {
      const sum = lanes();
      for (const each of order) {
        const state = lanes();
        hashBytes(state, viewed(Buffer.from(each)).view, 0, 1);
        addLanes(sum, state);
      }
      return hexOf(sum);
    });
    assert.equal(sums[0], sums[1]);
  });
});

describe('compressed strings', () => {
  // A literal of one byte, then a reference that repeats it.
  const run = (bytes: number): Buffer => {
    const codes: number[] = [0, 0x61];
    let made = 1;
    for (; bytes - made >= 264; made += 264) codes.push(0xe0, 255, 0);
    for (; made < bytes; made += 1) codes.push(0, 0x61);
    const header = Buffer.alloc(11);
    header[0] = 0xc3;
    header[1] = 0x80;
    header.writeUInt32BE(codes.length, 2);
    header[6] = 0x80;
    header.writeUInt32BE(bytes, 7);
    return Buffer.concat([header, Buffer.from(codes)]);
  };
  test('come out as they went in, whole or in pieces', () => {
    for (const bytes of [1, 300, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 777]) {
      const offsets: number[] = [];
      let text = '';
      readText(inputOf(run(bytes)), (region, from, to, offset, total) => {
        offsets.push(offset);
        text += region.bytes.toString('latin1', from, to);
        assert.equal(total, bytes);
      });
      assert.equal(text, 'a'.repeat(bytes));
      assert.deepEqual(
        offsets,
        Array.from({ length: Math.ceil(bytes / PIECE_BYTES) }, (_, n) => n * PIECE_BYTES),
      );
    }
  });
  test('that overflow or point outside of themselves are refused', () => {
    for (const codes of [
      [0xc3, 2, 1, 0x20, 0],
      [0xc3, 2, 5, 0, 97],
      [0xc3, 3, 1, 1, 97, 97],
      [0xc3, 40, 40, 31],
    ]) {
      assert.throws(() => readElement(inputOf(Buffer.from(codes))), { code: 'malformed' });
    }
  });
});

describe('fault 39: an RDB that is not whole is never taken for one', () => {
  test('an empty one is', () => {
    assert.deepEqual(
      linesOf(EMPTY).map(({ kind }) => kind),
      ['facts'],
    );
  });
  test('cut short, with a wrong sum, without its end, with something after it', async (t) => {
    if (!(await needServer(t, 'redis-8'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-8');
    await fill(ctx, { url: server.url }, true);
    const parts = memoryParts();
    await capture(ctx, readSettings({ url: server.url }), parts.sink);
    const rdb = Buffer.concat(await Array.fromAsync(parts.source.get(ctx, RDB_PART)));
    linesOf(rdb, 1_000);
    for (let bytes = 0; bytes < rdb.length; bytes += bytes < 600 || bytes > rdb.length - 60 ? 1 : 997) {
      assert.throws(() => linesOf(rdb.subarray(0, bytes)), { code: 'malformed' }, `cut at ${bytes}`);
    }
    assert.throws(() => linesOf(Buffer.concat([rdb, Buffer.from('x')])), { code: 'malformed' });
    for (let at = 9; at < rdb.length; at += at > rdb.length - 20 ? 1 : 1_009) {
      const flipped = Buffer.from(rdb);
      flipped[at] = (flipped[at] ?? 0) ^ 4;
      assert.throws(() => linesOf(flipped), Failure, `bit flipped at ${at}`);
    }
  });
  test('whatever bytes come, it ends, and in a failure of its own', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const rdb = Buffer.concat([Buffer.from('REDIS0012'), bytes]);
        assert.throws(() => linesOf(rdb), Failure);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('another encoding of the same data is equal', () => {
  for (const name of redisNames) {
    test(`on ${name}: packed or not, compressed or not`, async (t) => {
      if (!(await needServer(t, name))) return;
      const ctx = liveContext();
      const inventories = [];
      for (const compact of [true, false]) {
        // How often a key was used is in the second one, and no part of its value.
        await using server = await startRedis(name, { args: compact ? [] : ['--maxmemory-policy', 'allkeys-lfu'] });
        await fill(ctx, { url: server.url }, compact);
        await using connection = await open(ctx, { url: server.url });
        // When something was handed out is data, and differs between two fills.
        await connection.call('XACK', 'stream', 'readers', '1-1', '4-1', '5-1', '6-1', '7-1');
        inventories.push(inventoryFrom(await liveInventory(ctx, readSettings({ url: server.url }))));
      }
      const [packed, spread] = inventories;
      assert.ok(packed && spread);
      const findings = await Array.fromAsync(compare(ctx, packed, spread));
      assert.ok(findings.length > 20);
      const wrong = findings.filter(({ verdict }) => verdict !== 'pass');
      assert.deepEqual(wrong, []);
    });
  }
});

test('scores are numbers however they are written', () => {
  const scoreOf = (text: string): number => scoreIn(Buffer.from(text), 0, text.length);
  assert.equal(scoreOf('inf'), Number.POSITIVE_INFINITY);
  assert.equal(scoreOf('-inf'), Number.NEGATIVE_INFINITY);
  for (const text of ['', '-', '.', 'nan', '1.2.3', '1-', '--1', '1x']) {
    assert.throws(() => scoreOf(text), { code: 'malformed' }, text);
  }
  const odd = ['-0', '0', '3e2', '1.', '.5', '-.25', '9999999999999999', '999999999999999', '0.30000000000000004'];
  for (const text of odd) assert.ok(Object.is(scoreOf(text), Number(text)), text);
  fc.assert(
    fc.property(fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }), fc.nat(20), (whole, places) => {
      const digits = `${whole < 0 ? -whole : whole}`.padStart(places + 1, '0');
      const at = digits.length - places;
      const text = `${whole < 0 ? '-' : ''}${digits.slice(0, at)}.${digits.slice(at)}`;
      return Object.is(scoreOf(text), Number(text));
    }),
    { numRuns: 2000 },
  );
});

test('patterns choose keys as those of Redis do, also keys that are no text', () => {
  const chosen = (pattern: string, name: string | Buffer): boolean =>
    selector({ databases: null, patterns: [pattern] })(0, Buffer.from(name as string));
  assert.ok(chosen('session:*', 'session:\n1'));
  assert.ok(!chosen('session:*', 'asession:1'));
  assert.ok(chosen('h?llo', 'hallo') && !chosen('h?llo', 'hllo'));
  assert.ok(chosen('h[ae]llo', 'hello') && !chosen('h[^e]llo', 'hello') && chosen('k[a-c]', 'kb'));
  assert.ok(chosen('\\*[x', '*[x') && !chosen('\\*', 'x'));
  assert.ok(chosen('*', Buffer.from([0, 255, 10])) && chosen('???', Buffer.from([0, 255, 10])));
  assert.ok(chosen('ü*', 'über') && chosen('a.b|c(', 'a.b|c(') && !chosen('a.b', 'axb'));
  assert.ok(!selector({ databases: [1], patterns: null })(0, Buffer.from('x')));
});
