// How everything in a restic repository is sealed: iv(16) ‖ AES-256-CTR ‖ Poly1305-AES(16). docs/format.md has the
// whole.

import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hash,
  type KeyObject,
  randomBytes,
  randomFillSync,
  timingSafeEqual,
} from 'node:crypto';
import { createRequire } from 'node:module';
import { releaseLarge } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { copyInto } from './pool-buffers.ts';

export interface MasterKey {
  readonly encrypt: Buffer; // 32 bytes, AES-256
  readonly macK: Buffer; // 16 bytes, AES-128
  readonly macR: Buffer; // 16 bytes, masked
}

const IV_BYTES = 16;
const MAC_BYTES = 16;
const MAC_KEY_BYTES = 32;
/** What a sealed thing is longer than its content. */
export const SEAL_BYTES = IV_BYTES + MAC_BYTES;
/** Encrypting in slices keeps the data in the processor's cache until its MAC is made. */
const SLICE_BYTES = 64 * 1024;
/** Random bytes are made for so many seals at once: to ask for a few takes as long as to ask for some thousand. */
const IVS_AHEAD = 256;
const R_MASK = Buffer.from('ffffff0ffcffff0ffcffff0ffcffff0f', 'hex');

type OneTimeMac = (target: Uint8Array, message: Uint8Array, key: Uint8Array) => void;
const oneTimeMac = loadMac();

export function freshKey(): MasterKey {
  return { encrypt: randomBytes(32), macK: randomBytes(16), macR: masked(randomBytes(16)) };
}

/** The bits that Poly1305 wants to be zero, when a key is made and when one is read. */
export function masked(r: Uint8Array): Buffer {
  return Buffer.from(r.map((byte, i) => byte & (R_MASK[i] ?? 0)));
}

export function seal(key: MasterKey, plain: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(plain.length + SEAL_BYTES);
  sealInto(key, plain, sealed, 0);
  return sealed;
}

/** Seals into `target` at `at`, and returns the length: that of `plain` and 32. */
export function sealInto(key: MasterKey, plain: Uint8Array, target: Buffer, at: number): number {
  const iv = freshIv();
  target.set(iv, at);
  const bodyAt = at + IV_BYTES;
  cryptSlices(createCipheriv('aes-256-ctr', prepared(key).content, iv), plain, target, bodyAt);
  const macAt = bodyAt + plain.length;
  oneTimeMac(target.subarray(macAt, macAt + MAC_BYTES), target.subarray(bodyAt, macAt), macKey(key, iv));
  return plain.length + SEAL_BYTES;
}

const ivs = Buffer.allocUnsafeSlow(IVS_AHEAD * IV_BYTES);
let ivsUsed = ivs.length;

/** Each is given once. Valid until the next call. */
function freshIv(): Buffer {
  if (ivsUsed === ivs.length) {
    randomFillSync(ivs);
    ivsUsed = 0;
  }
  ivsUsed += IV_BYTES;
  return ivs.subarray(ivsUsed - IV_BYTES, ivsUsed);
}

/** Throws 'checksum' when a single bit differs from what was sealed with this key. */
export function open(key: MasterKey, sealed: Uint8Array): Buffer {
  const plain = Buffer.allocUnsafe(Math.max(0, sealed.length - SEAL_BYTES));
  openInto(key, sealed, plain, 0);
  return plain;
}

/** Opens into `target` at `at`, and returns the length of what was sealed. */
export function openInto(key: MasterKey, sealed: Uint8Array, target: Buffer, at: number): number {
  assertSealed(key, sealed);
  const iv = sealed.subarray(0, IV_BYTES);
  const body = sealed.subarray(IV_BYTES, sealed.length - MAC_BYTES);
  cryptSlices(createDecipheriv('aes-256-ctr', prepared(key).content, iv), body, target, at);
  return body.length;
}

/** Throws 'checksum' as `open` does, and opens nothing. */
export function assertSealed(key: MasterKey, sealed: Uint8Array): void {
  if (sealed.length < SEAL_BYTES) throw new Failure('checksum', `${sealed.length} bytes are too few to be sealed`);
  const mac = Buffer.allocUnsafe(MAC_BYTES);
  const body = sealed.subarray(IV_BYTES, sealed.length - MAC_BYTES);
  oneTimeMac(mac, body, macKey(key, sealed.subarray(0, IV_BYTES)));
  if (timingSafeEqual(mac, sealed.subarray(sealed.length - MAC_BYTES))) return;
  throw new Failure('checksum', 'the seal is broken: the data was changed, or another key made it');
}

export function sha256(data: Uint8Array): Buffer {
  return hash('sha256', data, 'buffer');
}

function cryptSlices(cipher: Cipheriv, from: Uint8Array, target: Buffer, at: number): void {
  if (at < 0 || at + from.length > target.length) throw new RangeError('no room for what is sealed or opened');
  for (let done = 0; done < from.length; done += SLICE_BYTES) {
    const slice = cipher.update(from.subarray(done, done + SLICE_BYTES));
    copyInto(target.buffer, target.byteOffset + at + done, slice);
    releaseLarge(slice);
  }
}

/** What is made of a key once: making it anew would cost more than to seal a small blob. */
interface Prepared {
  readonly content: KeyObject;
  readonly nonce: Cipheriv;
  /** r ‖ what `nonce` makes of the iv. */
  readonly mac: Buffer;
}
const preparedKeys = new WeakMap<MasterKey, Prepared>();

function prepared(key: MasterKey): Prepared {
  let made = preparedKeys.get(key);
  if (!made) {
    const nonce = createCipheriv('aes-128-ecb', key.macK, null).setAutoPadding(false);
    const mac = Buffer.concat([key.macR, Buffer.alloc(MAC_KEY_BYTES - key.macR.length)]);
    made = { content: createSecretKey(key.encrypt), nonce, mac };
    preparedKeys.set(key, made);
  }
  return made;
}

/** r ‖ AES-128_k(iv): a key that is used once. Valid until the next call. */
function macKey(key: MasterKey, iv: Uint8Array): Buffer {
  const { nonce, mac } = prepared(key);
  mac.set(nonce.update(iv), MAC_KEY_BYTES - IV_BYTES);
  return mac;
}

/** libsodium is ten times as fast; where it does not load, the portable one makes the same bytes. */
function loadMac(): OneTimeMac {
  const require = createRequire(import.meta.url);
  // Its file by name: to search it, as the package does, takes a dozen modules, in each thread.
  for (const name of [
    `sodium-native/prebuilds/${process.platform}-${process.arch}/sodium-native.node`,
    'sodium-native',
  ]) {
    try {
      const sodium: { crypto_onetimeauth: OneTimeMac } = require(name);
      return (target, message, key) => {
        if (target.length !== MAC_BYTES || key.length !== MAC_KEY_BYTES) throw new RangeError('no room for a MAC');
        sodium.crypto_onetimeauth(target, message, key);
      };
    } catch {} // the next one, then
  }
  const { poly1305 }: typeof import('@noble/ciphers/_poly1305.js') = require('@noble/ciphers/_poly1305.js');
  return (target, message, key) => target.set(poly1305(message, key));
}
