import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Connection } from './connection.ts';

/** No living upload is older: 5 TiB in a week are 9 MB a second. */
const LEFTOVER_AGE_MS = 7 * 24 * 3600 * 1000;
const done = new WeakSet<Connection>();

/**
 * Drops the uploads that dead processes left below our prefix: nobody sees them and the owner pays for them. Once for
 * each connection, and only where we may: listing and dropping uploads are rights of their own, which no put needs.
 * Never without a prefix: a whole bucket may have uploads of other programs, which a lifecycle rule has to drop.
 */
export async function dropLeftovers(ctx: Context, connection: Connection): Promise<void> {
  if (connection.prefix === '' || done.has(connection)) return;
  done.add(connection);
  try {
    await dropAll(ctx, connection);
  } catch (error) {
    if (!isFailure(error) || error.code === 'interrupted') throw error;
    ctx.log.debug('old uploads were not looked for', { reason: error.message });
  }
}

async function dropAll(ctx: Context, { bucket, prefix, call, answeredAt }: Connection): Promise<void> {
  const { Uploads = [] } = await call(ctx, 'listing unfinished uploads', (s3, options) =>
    s3.listMultipartUploads({ Bucket: bucket, Prefix: prefix }, options),
  );
  const now = answeredAt() ?? ctx.now();
  for (const { Key, UploadId, Initiated } of Uploads) {
    if (!Key || !UploadId || !Initiated || now.getTime() - Initiated.getTime() < LEFTOVER_AGE_MS) continue;
    await call(ctx, `dropping the old upload of ${Key}`, (s3, options) =>
      s3.abortMultipartUpload({ Bucket: bucket, Key, UploadId }, options),
    );
    ctx.log.info('old unfinished upload dropped', { key: Key, initiated: Initiated.toISOString() });
  }
}
