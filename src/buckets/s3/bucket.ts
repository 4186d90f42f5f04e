import { gate } from '../../core/parallel.ts';
import { parseSettings } from '../../core/settings.ts';
import type { Bucket } from '../../core/storage.ts';
import { checkKey, checkPrefix, checkRange } from '../keys.ts';
import { retryingBucket } from '../retrying.ts';
import { type Connection, connect } from './connection.ts';
import { deleteMany, deleteOne } from './deletion.ts';
import { listFiles, listFolders, listObjects } from './listing.ts';
import { getObject, headOf, putWhole, sha256Of, thaw } from './objects.ts';
import { s3BucketSettings } from './settings.ts';
import { putStream } from './upload.ts';

/** Parts of streams in flight: 64 MiB, and 16 MiB more for each stream. */
const UPLOADS = 4;

/** Any S3: `url` is 's3://BUCKET/PREFIX'. Tries again what may go away by itself. */
export function s3Bucket(url: string, settings: unknown, limits: { readonly stuckMs?: number } = {}): Bucket {
  const connection = connect(url, parseSettings(s3BucketSettings, settings, url), limits.stuckMs);
  return retryingBucket(singleTries(connection), connection.retry);
}

function singleTries(connection: Connection): Bucket {
  const uploads = gate(UPLOADS);
  return {
    url: connection.url,
    async put(ctx, key, body, options) {
      checkKey(key);
      if (!(body instanceof Uint8Array)) return await putStream(ctx, connection, uploads, key, body, options);
      const whole = { bytes: body.length, sha256: sha256Of(body, options?.sha256), open: () => body };
      return await putWhole(ctx, connection, key, whole, options);
    },
    async *get(ctx, key, range) {
      checkKey(key);
      checkRange(range);
      yield* getObject(ctx, connection, key, range);
    },
    async head(ctx, key) {
      checkKey(key);
      return (await headOf(ctx, connection, key)).info;
    },
    async *list(ctx, prefix) {
      checkPrefix(prefix);
      yield* listObjects(ctx, connection, prefix);
    },
    async *folders(ctx, prefix) {
      checkPrefix(prefix);
      yield* listFolders(ctx, connection, prefix);
    },
    async *files(ctx, prefix) {
      checkPrefix(prefix);
      yield* listFiles(ctx, connection, prefix);
    },
    async delete(ctx, key) {
      checkKey(key);
      await deleteOne(ctx, connection, key);
    },
    async deleteAll(ctx, keys) {
      for (const key of keys) checkKey(key);
      return await deleteMany(ctx, connection, keys);
    },
    async thaw(ctx, key, request) {
      checkKey(key);
      await thaw(ctx, connection, key, request);
    },
    close: () => connection.close(),
  };
}
