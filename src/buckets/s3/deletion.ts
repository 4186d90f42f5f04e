import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { retried } from '../retrying.ts';
import type { Connection } from './connection.ts';
import { dialectOf } from './dialects.ts';

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

/** In batches; resolves to what a batch does not report as deleted. */
export async function deleteMany(
  ctx: Context,
  connection: Connection,
  keys: readonly string[],
): Promise<readonly Undeleted[]> {
  const batches: (readonly string[])[] = [];
  for (let at = 0; at < keys.length; at += KEYS_PER_REQUEST) batches.push(keys.slice(at, at + KEYS_PER_REQUEST));
  const left = await mapBounded(batches, PARALLEL, (batch) =>
    retried(ctx, connection.retry, () => deleteBatch(ctx, connection, batch)),
  );
  return left.flat();
}

interface Undeleted {
  readonly key: string;
  readonly reason: string;
}

async function deleteBatch(
  ctx: Context,
  connection: Connection,
  keys: readonly string[],
): Promise<readonly Undeleted[]> {
  const { bucket, prefix } = connection;
  const Objects = keys.map((key) => ({ Key: prefix + key }));
  const checksum = dialectOf(ctx, connection.settings).checksums ? { ChecksumAlgorithm: 'SHA256' as const } : {};
  try {
    const { Deleted = [], Errors = [] } = await connection.call(ctx, `deleting ${keys.length} objects`, (s3, options) =>
      s3.deleteObjects({ Bucket: bucket, Delete: { Objects }, ...checksum }, options),
    );
    const deleted = new Set(Deleted.map(({ Key }) => Key));
    const reasons = new Map(Errors.map(({ Key, Code, Message }) => [Key, `${Code}: ${Message}`]));
    const left = keys.filter((key) => !deleted.has(prefix + key));
    return left.map((key) => ({ key, reason: reasons.get(prefix + key) ?? 'the answer does not mention it' }));
  } catch (error) {
    // A server that knows no batches, or not our checksums, may still delete one by one.
    if (isFailure(error, 'settings-invalid')) return keys.map((key) => ({ key, reason: error.message }));
    throw error;
  }
}
