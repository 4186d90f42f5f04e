// Small sealed documents: config, index, snapshots, locks, and our own.

import type { z } from 'zod';
import { readAll, releaseLarge } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bytes, Context, Json } from '../../core/model.ts';
import type { Bucket, ObjectInfo } from '../../core/storage.ts';
import { type MasterKey, open, seal, sha256 } from './crypto.ts';
import { compress, decompress, decompressTo } from './zstd.ts';

const COMPRESSED = 0x02;
const LEVEL = 3;
/** Stock restic's index files have some MiB. More is an attack, or damage. */
const DOCUMENT_BYTES_MAX = 64 * 1024 * 1024;

/** Everything of ours: stock restic ignores it. */
export const OWN = 'lifeboat/';

/** What a repository is worked on with. */
export interface Vault {
  readonly bucket: Bucket;
  readonly key: MasterKey;
}

/** Kinds of documents that are named after their bytes. */
export type NamedKind = 'index' | 'snapshots' | 'locks';

function sealDocument(key: MasterKey, value: unknown): Buffer {
  return sealCompressed(key, Buffer.from(JSON.stringify(value)));
}

/** What index files are sealed as, and ranges of journals. */
export function sealCompressed(key: MasterKey, plain: Uint8Array): Buffer {
  const marked = Buffer.concat([Buffer.of(COMPRESSED), compress(plain, LEVEL)]);
  const sealed = seal(key, marked);
  releaseLarge(marked);
  return sealed;
}

/** 'checksum' when it was changed, or when more than `bytesMax` come out. Old versions wrote JSON as it is. */
export function openCompressed(key: MasterKey, sealed: Uint8Array, bytesMax: number): Buffer {
  const opened = open(key, sealed);
  if (opened[0] !== COMPRESSED) return opened;
  const plain = decompress(opened.subarray(1), bytesMax);
  releaseLarge(opened);
  return plain;
}

/** Is it what `sealCompressed` made of this? Nothing is copied to find out. 'checksum' when it was changed. */
export function isSealed(key: MasterKey, sealed: Uint8Array, plain: Uint8Array): boolean {
  const opened = open(key, sealed);
  const isSame = opened[0] === COMPRESSED && decompressTo(opened.subarray(1), plain.length).equals(plain);
  releaseLarge(opened);
  return isSame;
}

/** 'checksum' when it was changed, 'malformed' when it is no JSON. */
function openDocument(key: MasterKey, sealed: Uint8Array, what: string): unknown {
  const json = openCompressed(key, sealed, DOCUMENT_BYTES_MAX);
  try {
    return JSON.parse(json.toString('utf8'));
  } catch (cause) {
    throw new Failure('malformed', `${what} is no JSON`, { cause });
  }
}

/** The value as the schema says, or 'malformed'. */
export function shaped<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new Failure('malformed', `${what} is not what it should be`, { cause: result.error });
}

/** Stores a document under the hash of its bytes, and returns that. */
export async function putNamed(ctx: Context, vault: Vault, kind: NamedKind, value: unknown): Promise<string> {
  const sealed = sealDocument(vault.key, value);
  const id = sha256(sealed).toString('hex');
  await vault.bucket.put(ctx, `${kind}/${id}`, sealed);
  return id;
}

/** 'checksum' when the bytes are not those that it is named after: read twice, as a bad read may be a transient one. */
export async function getNamed(ctx: Context, vault: Vault, kind: NamedKind, id: string): Promise<unknown> {
  const key = `${kind}/${id}`;
  let sealed = await readObject(ctx, vault.bucket, key);
  if (sha256(sealed).toString('hex') !== id) sealed = await readObject(ctx, vault.bucket, key);
  if (sha256(sealed).toString('hex') !== id) {
    throw new Failure('checksum', `${vault.bucket.url}: ${key} was changed`, { hint: 'run lifeboat verify --all' });
  }
  return openDocument(vault.key, sealed, key);
}

/** The ids of one kind. Other files there (stock restic's temporary ones) are left out. */
export async function* listNamed(ctx: Context, bucket: Bucket, kind: NamedKind | 'keys'): AsyncIterable<string> {
  for await (const { key } of bucket.list(ctx, `${kind}/`)) {
    const name = key.slice(kind.length + 1);
    if (isId(name)) yield name;
  }
}

export function isId(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name);
}

/** A document of ours under a name of its own. */
export async function putOwn(
  ctx: Context,
  vault: Vault,
  key: string,
  value: Json,
  options?: { ifAbsent: boolean },
): Promise<void> {
  await vault.bucket.put(ctx, key, sealDocument(vault.key, value), options);
}

export async function getOwn(ctx: Context, vault: Vault, key: string): Promise<unknown> {
  const sealed = await readObject(ctx, vault.bucket, key);
  try {
    return openDocument(vault.key, sealed, key);
  } catch (cause) {
    throw new Failure('checksum', `${vault.bucket.url}: ${key} was changed`, { cause });
  }
}

export async function readObject(ctx: Context, bucket: Bucket, key: string): Promise<Buffer> {
  return await readSmall(bucket.get(ctx, key), DOCUMENT_BYTES_MAX, key);
}

/** Null when there is no such object. */
export async function headOf(ctx: Context, { bucket }: Pick<Vault, 'bucket'>, key: string): Promise<ObjectInfo | null> {
  try {
    return await bucket.head(ctx, key);
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    throw error;
  }
}

/** 'malformed' when it is larger than anything that was written there. */
export async function readSmall(body: Bytes, bytesMax: number, what: string): Promise<Buffer> {
  try {
    return await readAll(body, bytesMax);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Failure('malformed', `${what} has more than ${bytesMax} bytes`, { cause: error });
  }
}

/** A time as Go writes it: no zeros at the end of the fraction. */
export function goTime(at: Date | string): string {
  const text = typeof at === 'string' ? at : at.toISOString();
  return text.replace(/(\.\d*?)0+(?=Z|[+-])/, '$1').replace(/\.(?=Z|[+-])/, '');
}
