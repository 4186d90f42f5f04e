// Small things that are done with buckets everywhere in this store.

import type { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bytes, Context, Json } from '../../core/model.ts';
import type { Bucket, ObjectInfo } from '../../core/storage.ts';
import { isFolder } from './keys.ts';

/** A body up to this size is put as a buffer, which a bucket can send again when a connection breaks. */
const BUFFERED_BYTES_MAX = 1024 * 1024;
const KEYS_PER_DELETION = 1000;
const DOCUMENT_BYTES_MAX = 16 * 1024 * 1024;

export async function putBody(ctx: Context, bucket: Bucket, key: string, body: Bytes): Promise<ObjectInfo> {
  const iterator = body[Symbol.asyncIterator]();
  const head: Buffer[] = [];
  let bytes = 0;
  while (bytes <= BUFFERED_BYTES_MAX) {
    const next = await iterator.next();
    if (next.done) return await bucket.put(ctx, key, Buffer.concat(head, bytes));
    head.push(Buffer.from(next.value));
    bytes += next.value.length;
  }
  return await bucket.put(ctx, key, joined(head, iterator));
}

async function* joined(head: readonly Buffer[], rest: AsyncIterator<Uint8Array>): Bytes {
  try {
    yield* head;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

export async function putJson(ctx: Context, bucket: Bucket, key: string, value: Json, ifAbsent = false): Promise<void> {
  await bucket.put(ctx, key, Buffer.from(`${JSON.stringify(value)}\n`), { ifAbsent, contentType: 'application/json' });
}

/** 'missing' when there is none, 'malformed' when it is not what was put there. */
export async function getJson<S extends z.ZodType>(
  ctx: Context,
  bucket: Bucket,
  key: string,
  schema: S,
): Promise<z.output<S>> {
  try {
    const text = (await readAll(bucket.get(ctx, key), DOCUMENT_BYTES_MAX)).toString('utf8');
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw new Failure('malformed', `${bucket.url}: ${key} is not the document that belongs there`, { cause });
  }
}

/** The same, null when there is none. */
export async function findJson<S extends z.ZodType>(
  ctx: Context,
  bucket: Bucket,
  key: string,
  schema: S,
): Promise<z.output<S> | null> {
  try {
    return await getJson(ctx, bucket, key, schema);
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    throw error;
  }
}

/** The same, null also when it can't be understood: it names nothing, and keeps nobody from clearing up the rest. */
export async function findNote<S extends z.ZodType>(
  ctx: Context,
  bucket: Bucket,
  key: string,
  schema: S,
): Promise<z.output<S> | null> {
  try {
    return await findJson(ctx, bucket, key, schema);
  } catch (error) {
    if (!isFailure(error, 'malformed')) throw error;
    ctx.log.warn('a note can not be understood: the files that it names are left alone', { key });
    return null;
  }
}

export async function deleteKeys(
  ctx: Context,
  bucket: Bucket,
  keys: AsyncIterable<string> | Iterable<string>,
): Promise<void> {
  let batch: string[] = [];
  for await (const key of keys) {
    batch.push(key);
    if (batch.length < KEYS_PER_DELETION) continue;
    await deleteBatch(ctx, bucket, batch);
    batch = [];
  }
  if (batch.length > 0) await deleteBatch(ctx, bucket, batch);
}

async function deleteBatch(ctx: Context, bucket: Bucket, batch: readonly string[]): Promise<void> {
  const [failed] = await bucket.deleteAll(ctx, batch);
  if (failed) throw new Failure('denied', `${bucket.url}: ${failed.key} could not be deleted: ${failed.reason}`);
}

export async function* keysBelow(ctx: Context, bucket: Bucket, prefix: string): AsyncIterable<string> {
  for await (const { key } of bucket.list(ctx, prefix)) yield key;
}

/** Of folders, what lies in them. */
export async function* keysOf(
  ctx: Context,
  bucket: Bucket,
  files: AsyncIterable<string> | Iterable<string>,
): AsyncIterable<string> {
  for await (const file of files) {
    if (isFolder(file)) yield* keysBelow(ctx, bucket, file);
    else yield file;
  }
}
