import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { retried } from '../retrying.ts';
import type { Connection } from './connection.ts';

const KEYS_PER_REQUEST = 1_000;
const PARALLEL = 8;

export async function deleteOne(ctx: Context, connection: Connection, key: string): Promise<void> {
  const { bucket, prefix } = connection;
  try {
    await connection.call(ctx, `deleting ${key}`, (s3, options) =>
      s3.deleteObject({ Bucket: bucket, Key: prefix + key }, options),
    );
  } catch (error) {
    if (!isFailure(error, 'missing')) throw error;
  }
}

/** In batches. Whatever a batch does not report as deleted is deleted by itself, which says why it can't be. */
export async function deleteMany(
  ctx: Context,
  connection: Connection,
  keys: readonly string[],
): Promise<{ key: string; reason: string }[]> {
  const batches: (readonly string[])[] = [];
  for (let at = 0; at < keys.length; at += KEYS_PER_REQUEST) batches.push(keys.slice(at, at + KEYS_PER_REQUEST));
  const left = (await mapBounded(batches, PARALLEL, (batch) => deleteBatch(ctx, connection, batch))).flat();
  const failed = await mapBounded(left, PARALLEL, async (key) => {
    try {
      await retried(ctx, connection.retry, () => deleteOne(ctx, connection, key));
      return [];
    } catch (error) {
      ctx.signal.throwIfAborted();
      return [{ key, reason: messageOf(error) }];
    }
  });
  return failed.flat();
}

/** Resolves to the keys that may still be there. */
async function deleteBatch(ctx: Context, connection: Connection, keys: readonly string[]): Promise<readonly string[]> {
  const { bucket, prefix, settings } = connection;
  const Objects = keys.map((key) => ({ Key: prefix + key }));
  const checksum = settings.checksums ? { ChecksumAlgorithm: 'SHA256' as const } : {};
  try {
    const { Deleted = [] } = await retried(ctx, connection.retry, () =>
      connection.call(ctx, `deleting ${keys.length} objects`, (s3, options) =>
        s3.deleteObjects({ Bucket: bucket, Delete: { Objects }, ...checksum }, options),
      ),
    );
    const deleted = new Set(Deleted.map(({ Key }) => Key));
    return keys.filter((key) => !deleted.has(prefix + key));
  } catch (error) {
    if (isFailure(error, 'settings-invalid')) return keys; // a server that knows no batches, or not our checksums
    throw error;
  }
}
