// Single requests for single objects.

import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { HeadObjectOutput, PutObjectRequest } from '@aws-sdk/client-s3';
import { Failure, isFailure } from '../../core/errors.ts';
import type { ByteRange, Bytes, Context } from '../../core/model.ts';
import type { ObjectInfo, PutOptions, ThawRequest } from '../../core/storage.ts';
import { missing, missingRange, taken } from '../keys.ts';
import type { Connection } from './connection.ts';
import { dialectOf } from './dialects.ts';
import { failureOf } from './failures.ts';

const ARCHIVES = ['GLACIER', 'DEEP_ARCHIVE'];

/** Where an object goes and what is kept with it. */
export function objectOptions(
  { bucket, prefix, settings }: Connection,
  key: string,
  options: PutOptions | undefined,
): Pick<PutObjectRequest, 'Bucket' | 'Key' | 'ContentType' | 'StorageClass' | 'ServerSideEncryption' | 'SSEKMSKeyId'> {
  return {
    Bucket: bucket,
    Key: prefix + key,
    ...(options?.contentType === undefined ? {} : { ContentType: options.contentType }),
    ...(settings.storage_class === undefined
      ? {}
      : { StorageClass: settings.storage_class as NonNullable<PutObjectRequest['StorageClass']> }),
    ...(settings.encryption === undefined ? {} : { ServerSideEncryption: settings.encryption }),
    ...(settings.kms_key === undefined ? {} : { SSEKMSKeyId: settings.kms_key }),
  };
}

/** One request, whose body may be sent again. */
export async function putWhole(
  ctx: Context,
  connection: Connection,
  key: string,
  body: { readonly bytes: number; readonly sha256: string; open(): Uint8Array | Readable },
  options: PutOptions | undefined,
): Promise<ObjectInfo> {
  const { settings, url } = connection;
  const { conditionalWrites } = dialectOf(ctx, settings);
  if (options?.ifAbsent && !conditionalWrites) await mustBeAbsent(ctx, connection, key);
  const conditional = options?.ifAbsent && conditionalWrites;
  try {
    const { ETag } = await connection.call(ctx, `writing ${key}`, (s3, callOptions) =>
      s3.putObject(
        {
          ...objectOptions(connection, key, options),
          Body: body.open(),
          ContentLength: body.bytes,
          ChecksumSHA256: body.sha256,
          ...(conditional ? { IfNoneMatch: '*' } : {}),
        },
        callOptions,
      ),
    );
    if (ETag === undefined) throw new Failure('unreachable', `writing ${key} in ${url}: the answer was none of S3`);
  } catch (error) {
    throw isFailure(error, 'exists') ? taken(url, key, error) : error;
  }
  return { key, bytes: body.bytes, modifiedAt: connection.answeredAt() ?? ctx.now() };
}

/** As S3 wants it. A wrong `known` hash is refused by the server. */
export function sha256Of(data: Uint8Array, known: string | undefined): string {
  return known === undefined
    ? createHash('sha256').update(data).digest('base64')
    : Buffer.from(known, 'hex').toString('base64');
}

export async function* getObject(ctx: Context, connection: Connection, key: string, range?: ByteRange): Bytes {
  if (range?.length === 0) return;
  const { bucket, prefix, url } = connection;
  const what = `reading ${key}`;
  const { Body, ContentLength, ContentRange } = await connection
    .call(ctx, what, (s3, options) => {
      const Range = range && `bytes=${range.offset}-${range.offset + range.length - 1}`;
      return s3.getObject({ Bucket: bucket, Key: prefix + key, ...(Range ? { Range } : {}) }, options);
    })
    .catch((error: unknown) => {
      throw isFailure(error, 'missing') ? absence(error, url, key, range) : error;
    });
  if (!(Body instanceof Readable)) throw new Error('the SDK gives streams');
  try {
    if (range && ContentRange === undefined) {
      throw new Failure('settings-invalid', `${what} in ${url}: this server ignores that only a range was asked for`);
    }
    if (range && ContentLength !== range.length) throw missingRange(url, key, range);
    let bytes = 0;
    for await (const chunk of Body as Bytes) {
      bytes += chunk.length;
      yield chunk;
    }
    if (ContentLength !== undefined && bytes !== ContentLength) {
      throw new Failure('unreachable', `${what} in ${url}: ${bytes} of ${ContentLength} bytes came`);
    }
  } catch (error) {
    if (ctx.signal.aborted) throw ctx.signal.reason;
    throw failureOf(error, what, url);
  } finally {
    Body.destroy();
  }
}

/** With the value that its metadata has under `token`. */
export async function headOf(
  ctx: Context,
  connection: Connection,
  key: string,
  token = '',
): Promise<{ info: ObjectInfo; token: string | undefined }> {
  const { bucket, prefix, url } = connection;
  const head = await connection
    .call(ctx, `looking at ${key}`, (s3, options) => s3.headObject({ Bucket: bucket, Key: prefix + key }, options))
    .catch((error: unknown) => {
      throw isFailure(error, 'missing') ? missing(url, key, error) : error;
    });
  const { ContentLength: bytes, LastModified: modifiedAt } = head;
  if (bytes === undefined || modifiedAt === undefined) {
    throw new Failure('unreachable', `looking at ${key} in ${url}: the answer was none of S3`);
  }
  return { info: { key, bytes, modifiedAt, ...archivalOf(head) }, token: head.Metadata?.[token] };
}

export async function thaw(
  ctx: Context,
  { bucket, prefix, call }: Connection,
  key: string,
  { days, tier }: ThawRequest,
): Promise<void> {
  try {
    await call(ctx, `asking for ${key}`, (s3, options) =>
      s3.restoreObject(
        {
          Bucket: bucket,
          Key: prefix + key,
          RestoreRequest: { Days: days, GlacierJobParameters: { Tier: tier } },
        },
        options,
      ),
    );
  } catch (error) {
    const name = isFailure(error) && error.cause instanceof Error ? error.cause.name : '';
    if (name === 'RestoreAlreadyInProgress') return;
    if (!isFailure(error, 'denied')) throw error;
    throw new Failure('denied', error.message, { cause: error, hint: 'needed for this alone is s3:RestoreObject' });
  }
}

export function isArchivedClass(storageClass: string | undefined): boolean {
  return storageClass !== undefined && ARCHIVES.includes(storageClass);
}

function archivalOf({
  StorageClass: storageClass,
  ArchiveStatus,
  Restore = '',
}: HeadObjectOutput): Pick<ObjectInfo, 'archived' | 'storageClass' | 'thawing'> {
  const archived = isArchivedClass(storageClass) || ArchiveStatus !== undefined;
  if (!archived || Restore.includes('ongoing-request="false"')) return {};
  const thawing = Restore.includes('ongoing-request="true"');
  return { archived, ...(storageClass === undefined ? {} : { storageClass }), ...(thawing ? { thawing } : {}) };
}

async function mustBeAbsent(ctx: Context, connection: Connection, key: string): Promise<void> {
  try {
    await headOf(ctx, connection, key);
  } catch (error) {
    if (isFailure(error, 'missing')) return;
    throw error;
  }
  throw taken(connection.url, key);
}

function absence(error: Failure, url: string, key: string, range: ByteRange | undefined): Failure {
  const outside = error.cause instanceof Error && /range/i.test(error.cause.name + error.cause.message);
  return range && outside ? missingRange(url, key, range, error) : missing(url, key, error);
}
