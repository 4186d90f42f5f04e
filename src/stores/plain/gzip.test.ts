import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';
import { gunzipped, gzipped } from './gzip.ts';

const MIB = 1024 * 1024;

test('gunzip reads what was packed on several cores', async () => {
  for (const bytes of [0, 1, MIB - 1, MIB, MIB + 1, 7 * MIB + 5]) {
    const data = text(bytes);
    for (const quick of [false, true]) {
      const packed = await readAll(gzipped(bytesOf(data), { quick }));
      const unpacked = execFileSync('gunzip', ['-c'], { input: packed, maxBuffer: 64 * MIB });
      assert.ok(unpacked.equals(data), `${bytes} bytes`);
      execFileSync('gunzip', ['-t'], { input: packed });
    }
  }
});

test('what was packed comes back, however it was cut into chunks', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 400_000 }), { maxLength: 12 }), async (chunks) => {
      const packed = gzipped(
        (async function* (): Bytes {
          for (const chunk of chunks) {
            const borrowed = Buffer.from(chunk);
            yield borrowed;
            borrowed.fill(0);
          }
        })(),
      );
      assert.ok((await readAll(gunzipped(packed, 'it'))).equals(Buffer.concat(chunks)));
    }),
    { numRuns: 30 },
  );
});

test('files of gzip itself and chains of them are read', async () => {
  const one = execFileSync('gzip', ['-c'], { input: 'one\n' });
  assert.equal((await readAll(gunzipped(bytesOf(one), 'it'))).toString(), 'one\n');
  const chain = Buffer.concat([one, gzipSync(''), gzipSync('two\n')]);
  assert.equal((await readAll(gunzipped(bytesOf(chain), 'it'))).toString(), 'one\ntwo\n');
});

test('a gzip file that is cut short, changed or none at all is never read as a shorter one', async () => {
  const whole = await readAll(gzipped(bytesOf(text(3 * MIB))));
  const changed = Buffer.from(whole);
  changed.writeUInt8(changed.readUInt8(whole.length >> 1) ^ 4, whole.length >> 1);
  const none = Buffer.from('this is no gzip file');
  for (const bad of [whole.subarray(0, whole.length - 1), whole.subarray(0, 100), changed, none]) {
    await assert.rejects(readAll(gunzipped(bytesOf(bad), 'it')), (error) => isFailure(error, 'checksum'));
  }
});

test('a bomb is refused as soon as it has more bytes than it should (fault 21)', async () => {
  const bomb = gzipSync(Buffer.alloc(64 * MIB));
  let bytes = 0;
  const reading = (async () => {
    for await (const chunk of gunzipped(bytesOf(bomb), 'it', MIB)) bytes += chunk.length;
  })();
  await assert.rejects(reading, (error) => isFailure(error, 'checksum'));
  assert.ok(bytes <= MIB, `${bytes} bytes came out`);
});

test('what the source of a gzip stream throws is thrown, packing and unpacking', async () => {
  async function* broken(): Bytes {
    yield gzipSync('some');
    throw new Error('the line went dead');
  }
  await assert.rejects(readAll(gzipped(broken())), /the line went dead/);
  await assert.rejects(readAll(gunzipped(broken(), 'it')), /the line went dead/);
});

test('a gzip stream that nobody reads to its end stops its source', async () => {
  let ended = false;
  async function* endless(): Bytes {
    try {
      for (;;) yield text(MIB);
    } finally {
      ended = true;
    }
  }
  for await (const chunk of gunzipped(gzipped(endless()), 'it')) if (chunk.length > 0) break;
  while (!ended) await new Promise((resolve) => setImmediate(resolve));
});

function text(bytes: number): Buffer {
  const line = Array.from({ length: 500 }, (_, i) => `${i}\t${(i * 7919) % 1009}\tname-${i % 37}\n`).join('');
  return Buffer.from(line.repeat(Math.ceil(bytes / line.length))).subarray(0, bytes);
}
