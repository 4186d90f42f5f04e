// Key files: each holds the master key, sealed with what scrypt makes of one password.

import { randomBytes, type ScryptOptions, scrypt } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { z } from 'zod';
import { outliving } from '../../core/context.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket, KeyInfo, KeyRing } from '../../core/storage.ts';
import { type MasterKey, masked, open, seal, sha256 } from './crypto.ts';
import { goTime, isId, listNamed, readObject, shaped } from './documents.ts';
import type { Locks } from './locks.ts';

/** How dear a guess of the password is. Tests take less. */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}
export const SCRYPT_COST: ScryptCost = { N: 32_768, r: 8, p: 1 };
/** A hostile key file must not take all memory, nor many of them all time. */
const SCRYPT_BYTES_MAX = 256 * 1024 * 1024;
const CLEANUP_MS_MAX = 30_000;
const KEYS_TRIED_MAX = 20;

const keyFileSchema = z.object({
  created: z.string(),
  username: z.string().default(''),
  hostname: z.string().default(''),
  kdf: z.literal('scrypt'),
  N: z.int().min(2),
  r: z.int().min(1),
  p: z.int().min(1).max(64),
  salt: z.base64(),
  data: z.base64(),
});
type KeyFile = z.output<typeof keyFileSchema>;
const masterKeySchema = z.object({ mac: z.object({ k: z.base64(), r: z.base64() }), encrypt: z.base64() });

/** What opened the repository. */
export interface Unlocked {
  readonly key: MasterKey;
  readonly keyFile: string; // its id
}

/** Stores the master key under one more password, and reads it back: a password that does not open is no key. */
export async function addKey(
  ctx: Context,
  bucket: Bucket,
  key: MasterKey,
  password: string,
  cost = SCRYPT_COST,
): Promise<{ id: string; file: KeyFile }> {
  const salt = randomBytes(64);
  const sealed = seal(await deriveKey(password, { ...cost, salt }), Buffer.from(JSON.stringify(masterJson(key))));
  const file: KeyFile = {
    created: goTime(ctx.now()),
    username: userInfo().username,
    hostname: hostname(),
    kdf: 'scrypt',
    ...cost,
    salt: salt.toString('base64'),
    data: sealed.toString('base64'),
  };
  const bytes = Buffer.from(JSON.stringify(file));
  const id = sha256(bytes).toString('hex');
  try {
    await bucket.put(ctx, `keys/${id}`, bytes);
    const again = await openKeyFile(await readKeyFile(ctx, bucket, id), password);
    if (!again?.encrypt.equals(key.encrypt)) {
      throw new Failure('checksum', `${bucket.url}: the new key can't be read back`);
    }
  } catch (error) {
    const last = outliving(ctx, CLEANUP_MS_MAX);
    await bucket.delete(last, `keys/${id}`).catch(() => undefined); // the first failure says more
    throw error;
  }
  return { id, file };
}

/** Tries the password on each key. 'missing' when there is none, 'wrong-password' when it opens none of them. */
export async function unlock(ctx: Context, bucket: Bucket, password: string): Promise<Unlocked> {
  let tried = 0;
  let unreadable: unknown;
  for await (const id of listNamed(ctx, bucket, 'keys')) {
    if (++tried > KEYS_TRIED_MAX) break;
    try {
      const key = await openKeyFile(await readKeyFile(ctx, bucket, id), password);
      if (key) return { key, keyFile: id };
    } catch (error) {
      if (!isFailure(error, 'malformed') && !isFailure(error, 'checksum')) throw error;
      unreadable = error; // another key may do
    }
  }
  if (tried === 0) throw new Failure('missing', `${bucket.url} holds no key: there is no repository`);
  if (unreadable) throw unreadable;
  const keys = tried === 1 ? 'its only key does not open' : `none of its ${tried} keys opens`;
  throw new Failure('wrong-password', `${bucket.url}: ${keys} with this password`, {
    hint: 'see password of the store: that of the recovery kit opens it, and each that lifeboat keys add has added',
  });
}

export function keyRing(bucket: Bucket, unlocked: Unlocked, locks: Locks): KeyRing {
  let current = unlocked.keyFile;
  const infoOf = (id: string, file: KeyFile): KeyInfo => ({
    id,
    created: file.created,
    username: file.username,
    hostname: file.hostname,
    current: id === current,
  });
  async function list(ctx: Context): Promise<KeyInfo[]> {
    const ids = await Array.fromAsync(listNamed(ctx, bucket, 'keys'));
    return await Promise.all(ids.map(async (id) => infoOf(id, await readKeyFile(ctx, bucket, id))));
  }
  return {
    list,
    async add(ctx, password) {
      const { id, file } = await addKey(ctx, bucket, unlocked.key, password);
      return infoOf(id, file);
    },
    async remove(ctx, id) {
      // Two that remove each other's key at once would leave none.
      await using lock = await locks.acquire(ctx, 'exclusive');
      const keys = await list(ctx);
      if (!keys.some((key) => key.id === id)) throw new Failure('missing', `${bucket.url} has no key ${id}`);
      if (keys.length === 1) throw new Failure('usage', `${bucket.url}: the last key can't be removed`);
      if (id === current) {
        throw new Failure('usage', `${bucket.url}: the key in use can't be removed`, {
          hint: 'run lifeboat keys passwd, or open the store with the other password',
        });
      }
      await lock.assertHeld(ctx);
      await bucket.delete(ctx, `keys/${id}`);
    },
    async change(ctx, password) {
      // Somebody else may be removing the new key, as another one's.
      await using lock = await locks.acquire(ctx, 'exclusive');
      const { id, file } = await addKey(ctx, bucket, unlocked.key, password); // proves it, before the old one goes
      await lock.assertHeld(ctx);
      const old = current;
      current = id;
      await bucket.delete(ctx, `keys/${old}`);
      return infoOf(id, file);
    },
  };
}

async function readKeyFile(ctx: Context, bucket: Bucket, id: string): Promise<KeyFile> {
  if (!isId(id)) throw new Failure('usage', `${id} is no id of a key`);
  const bytes = await readObject(ctx, bucket, `keys/${id}`);
  if (sha256(bytes).toString('hex') !== id) throw new Failure('checksum', `${bucket.url}: keys/${id} was changed`);
  try {
    return shaped(keyFileSchema, JSON.parse(bytes.toString('utf8')), `keys/${id}`);
  } catch (cause) {
    throw new Failure('malformed', `${bucket.url}: keys/${id} is no key`, { cause });
  }
}

/** Null when the password is another one. */
async function openKeyFile(file: KeyFile, password: string): Promise<MasterKey | null> {
  const derived = await deriveKey(password, { ...file, salt: Buffer.from(file.salt, 'base64') });
  let plain: Buffer;
  try {
    plain = open(derived, Buffer.from(file.data, 'base64'));
  } catch (error) {
    if (isFailure(error, 'checksum')) return null;
    throw error;
  }
  const { mac, encrypt } = shaped(masterKeySchema, JSON.parse(plain.toString('utf8')), 'the master key');
  return keyOf(Buffer.from(encrypt, 'base64'), Buffer.from(mac.k, 'base64'), Buffer.from(mac.r, 'base64'));
}

async function deriveKey(password: string, options: ScryptCost & { salt: Buffer }): Promise<MasterKey> {
  const { N, r, p, salt } = options;
  const memory = 128 * r * (N + p);
  if (memory > SCRYPT_BYTES_MAX) {
    throw new Failure('malformed', `a key asks for ${memory} bytes of memory to try a password`);
  }
  const derived = await scryptAsync(password, salt, { N, r, p, maxmem: memory + 1024 * 1024 });
  return keyOf(derived.subarray(0, 32), derived.subarray(32, 48), derived.subarray(48, 64));
}

async function scryptAsync(password: string, salt: Buffer, options: ScryptOptions): Promise<Buffer> {
  return await new Promise((resolve, reject) =>
    scrypt(password, salt, 64, options, (error, derived) =>
      error ? reject(new Failure('malformed', 'a key has impossible parameters', { cause: error })) : resolve(derived),
    ),
  );
}

function keyOf(encrypt: Buffer, macK: Buffer, macR: Buffer): MasterKey {
  if (encrypt.length !== 32 || macK.length !== 16 || macR.length !== 16) {
    throw new Failure('malformed', 'the master key has an impossible length');
  }
  return { encrypt, macK, macR: masked(macR) };
}

function masterJson({ encrypt, macK, macR }: MasterKey): unknown {
  const text = (bytes: Buffer): string => bytes.toString('base64');
  return { mac: { k: text(macK), r: text(macR) }, encrypt: text(encrypt) };
}
