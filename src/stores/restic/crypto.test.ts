import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { freshKey, open, openInto, SEAL_BYTES, seal, sealInto } from './crypto.ts';

const key = freshKey();

test('what was sealed opens to the same bytes, whatever its size', () => {
  for (const bytes of [0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 300_000]) {
    const plain = randomBytes(bytes);
    const sealed = seal(key, plain);
    assert.equal(sealed.length, bytes + SEAL_BYTES);
    assert.ok(open(key, sealed).equals(plain));
  }
});

test('a thing sealed in place opens in place', () => {
  const plain = randomBytes(100_000);
  const target = Buffer.alloc(200_000);
  assert.equal(sealInto(key, plain, target, 77), plain.length + SEAL_BYTES);
  const back = Buffer.alloc(100_100);
  assert.equal(openInto(key, target.subarray(77, 77 + plain.length + SEAL_BYTES), back, 50), plain.length);
  assert.ok(back.subarray(50, 100_050).equals(plain));
});

test('the same bytes are sealed differently each time, however often', () => {
  const key = freshKey();
  const sealed = Array.from({ length: 1000 }, () => seal(key, Buffer.from('the same')).toString('hex'));
  assert.equal(new Set(sealed).size, 1000);
});

test('each flipped bit breaks the seal', () => {
  const sealed = seal(key, Buffer.from('short'));
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const changed = Buffer.from(sealed);
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    assert.throws(
      () => open(key, changed),
      (error) => isFailure(error, 'checksum'),
    );
  }
  assert.throws(
    () => open(key, sealed.subarray(0, 31)),
    (error) => isFailure(error, 'checksum'),
  );
  assert.throws(
    () => open(freshKey(), sealed),
    (error) => isFailure(error, 'checksum'),
  );
});

test('seals are made by libsodium, and never beyond the end of their target', () => {
  assert.ok(readFileSync('/proc/self/maps', 'utf8').includes('sodium-native'), 'it did not load');
  for (const short of [1, 15, 16, 31]) {
    assert.throws(() => sealInto(key, Buffer.alloc(100), Buffer.alloc(100 + SEAL_BYTES - short), 0), RangeError);
  }
});

test('nothing is written behind a target that is part of larger memory', () => {
  const memory = Buffer.alloc(400);
  const target = memory.subarray(50, 150);
  const sealed = seal(key, Buffer.alloc(200, 'x'));
  assert.throws(() => openInto(key, sealed, target, 0), RangeError);
  assert.throws(() => openInto(key, seal(key, Buffer.alloc(50, 'x')), target, 60), RangeError);
  assert.ok(memory.equals(Buffer.alloc(400)), 'opened');
  assert.throws(() => sealInto(key, Buffer.alloc(200, 'x'), target, 0), RangeError);
  assert.ok(memory.subarray(150).equals(Buffer.alloc(250)), 'sealed');
});

test('libsodium is found by its package where its file lies elsewhere, and seals are the same without it', () => {
  const sealed = seal(key, Buffer.from('the same')).toString('hex');
  for (const [missing, isThere] of [
    ['sodium-native/prebuilds', true],
    ['sodium-native', false],
  ] as const) {
    const hooks = `import { registerHooks } from 'node:module';
      registerHooks({ resolve(name, context, next) {
        if (name.startsWith('${missing}')) throw new Error('it is not there');
        return next(name, context);
      } });`;
    const parts = Object.entries(key).map(([name, part]) => `${name}: Buffer.from('${part.toString('hex')}', 'hex')`);
    const script = `import { readFileSync } from 'node:fs';
      const { open } = await import('${new URL('crypto.ts', import.meta.url)}');
      const opened = open({ ${parts.join()} }, Buffer.from('${sealed}', 'hex')).toString();
      console.log(readFileSync('/proc/self/maps', 'utf8').includes('sodium-native'), opened);`;
    const flags = ['--import', `data:text/javascript,${encodeURIComponent(hooks)}`, '--input-type=module'];
    assert.equal(execFileSync(process.execPath, [...flags, '--eval', script]).toString(), `${isThere} the same\n`);
  }
});
