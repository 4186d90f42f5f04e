// A stream of unknown length as one object: a single put when it is small, a multipart upload otherwise.

import { randomUUID } from 'node:crypto';
import { withDeadline, withSignal } from '../../core/context.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import type { Gate } from '../../core/parallel.ts';
import type { ObjectInfo, PutOptions } from '../../core/storage.ts';
import { taken } from '../keys.ts';
import { retried } from '../retrying.ts';
import type { Connection } from './connection.ts';
import { dialectOf } from './dialects.ts';
import { dropLeftovers } from './leftovers.ts';
import { headOf, objectOptions, putWhole } from './objects.ts';
import { PART_SIZES, type Part, partsOf } from './parts.ts';

const ABORT_MS = 30_000;
/** Proves at the end that the object which is there is this one. */
const TOKEN = 'lifeboat-upload';

interface Upload {
  readonly key: string;
  readonly id: string;
  readonly token: string;
}
interface UploadedPart {
  readonly PartNumber: number;
  readonly ETag: string | undefined;
  readonly ChecksumSHA256?: string;
}

/** `uploads` bounds the parts in flight of all streams together. */
export async function putStream(
  ctx: Context,
  connection: Connection,
  uploads: Gate,
  key: string,
  body: Bytes,
  options: PutOptions | undefined,
): Promise<ObjectInfo> {
  const parts = partsOf(ctx, body)[Symbol.asyncIterator]();
  try {
    const first = await parts.next();
    if (first.done) throw new Error('a stream has one part at least');
    if (first.value.bytes < PART_SIZES.memoryBytes) {
      return await retried(ctx, connection.retry, () => putWhole(ctx, connection, key, first.value, options));
    }
    if (options?.ifAbsent && (await find(ctx, connection, key))) throw taken(connection.url, key);
    return await putParts(ctx, connection, uploads, key, joined(first.value, parts), options);
  } finally {
    await parts.return?.();
  }
}

async function putParts(
  ctx: Context,
  connection: Connection,
  uploads: Gate,
  key: string,
  parts: AsyncIterable<Part>,
  options: PutOptions | undefined,
): Promise<ObjectInfo> {
  await dropLeftovers(ctx, connection);
  const upload = await begin(ctx, connection, key, options);
  try {
    const uploaded = await uploadAll(ctx, connection, uploads, upload, parts);
    return await complete(ctx, connection, upload, uploaded, options);
  } catch (error) {
    await abort(ctx, connection, upload);
    throw error;
  }
}

async function begin(
  ctx: Context,
  connection: Connection,
  key: string,
  options: PutOptions | undefined,
): Promise<Upload> {
  const token = randomUUID();
  const { UploadId: id } = await retried(ctx, connection.retry, () =>
    connection.call(ctx, `beginning ${key}`, (s3, callOptions) =>
      s3.createMultipartUpload(
        {
          ...objectOptions(connection, key, options),
          Metadata: { [TOKEN]: token },
          ...(dialectOf(ctx, connection.settings).checksums ? { ChecksumAlgorithm: 'SHA256' as const } : {}),
        },
        callOptions,
      ),
    ),
  );
  if (id === undefined) throw new Failure('unreachable', `beginning ${key} in ${connection.url}: no upload id came`);
  return { key, id, token };
}

/** A part waits here, filled, until its turn comes: at most one for each stream besides those in flight. */
async function uploadAll(
  ctx: Context,
  connection: Connection,
  uploads: Gate,
  upload: Upload,
  parts: AsyncIterable<Part>,
): Promise<{ parts: readonly UploadedPart[]; bytes: number }> {
  const failed = new AbortController();
  const partCtx = withSignal(ctx, failed.signal);
  const jobs: Promise<UploadedPart>[] = [];
  let bytes = 0;
  try {
    for await (const part of parts) {
      bytes += part.bytes;
      const begun = Promise.withResolvers<void>();
      const job = uploads.run(async () => {
        begun.resolve();
        return await uploadPart(partCtx, connection, upload, part);
      });
      job.catch((error: unknown) => failed.abort(error)); // thrown below
      jobs.push(job);
      await begun.promise;
      if (failed.signal.aborted) break;
    }
    return { parts: await Promise.all(jobs), bytes };
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(jobs);
    throw error;
  }
}

async function uploadPart(ctx: Context, connection: Connection, upload: Upload, part: Part): Promise<UploadedPart> {
  await using _ = part;
  const { ETag } = await retried(ctx, connection.retry, () =>
    connection.call(ctx, `writing part ${part.number} of ${upload.key}`, (s3, options) =>
      s3.uploadPart(
        {
          ...place(connection, upload),
          PartNumber: part.number,
          Body: part.open(),
          ContentLength: part.bytes,
          ChecksumSHA256: part.sha256,
        },
        options,
      ),
    ),
  );
  const checksum = dialectOf(ctx, connection.settings).checksums ? { ChecksumSHA256: part.sha256 } : {};
  return { PartNumber: part.number, ETag, ...checksum };
}

async function complete(
  ctx: Context,
  connection: Connection,
  upload: Upload,
  uploaded: { parts: readonly UploadedPart[]; bytes: number },
  options: PutOptions | undefined,
): Promise<ObjectInfo> {
  const { key } = upload;
  const conditional = options?.ifAbsent && dialectOf(ctx, connection.settings).conditionalWrites;
  let refusal: Failure | undefined;
  await retried(ctx, connection.retry, async () => {
    try {
      await connection.call(ctx, `finishing ${key}`, (s3, callOptions) =>
        s3.completeMultipartUpload(
          {
            ...place(connection, upload),
            MultipartUpload: { Parts: [...uploaded.parts] },
            ...(conditional ? { IfNoneMatch: '*' } : {}),
          },
          callOptions,
        ),
      );
    } catch (error) {
      // An attempt without a reply may have finished it, after which the upload is gone and the object is there.
      if (!isFailure(error) || (error.code !== 'missing' && error.code !== 'exists')) throw error;
      refusal = error;
    }
  });
  const found = await find(ctx, connection, key);
  if (found?.token === upload.token && found.info.bytes === uploaded.bytes) return found.info;
  if (isFailure(refusal, 'exists')) throw taken(connection.url, key, refusal);
  throw new Failure('different', `${key} in ${connection.url} is not what was just put there`, {
    cause: refusal,
    hint: 'does another program write to this bucket, or does a lifecycle rule abort uploads too early?',
  });
}

async function abort(ctx: Context, connection: Connection, upload: Upload): Promise<void> {
  const fresh = { ...ctx, signal: new AbortController().signal }; // also after the user stopped us
  try {
    await withDeadline(fresh, ABORT_MS, `dropping ${upload.key}`, (within) =>
      connection.call(within, `dropping ${upload.key}`, (s3, options) =>
        s3.abortMultipartUpload(place(connection, upload), options),
      ),
    );
  } catch (error) {
    // What broke the put matters more. The parts are invisible but paid for until somebody drops them.
    if (isFailure(error, 'missing')) return;
    ctx.log.warn('unfinished upload left in the bucket', { key: upload.key, reason: messageOf(error) });
  }
}

function place(connection: Connection, upload: Upload): { Bucket: string; Key: string; UploadId: string } {
  return { Bucket: connection.bucket, Key: connection.prefix + upload.key, UploadId: upload.id };
}

async function find(
  ctx: Context,
  connection: Connection,
  key: string,
): Promise<{ info: ObjectInfo; token: string | undefined } | undefined> {
  try {
    return await retried(ctx, connection.retry, () => headOf(ctx, connection, key, TOKEN));
  } catch (error) {
    if (isFailure(error, 'missing')) return undefined;
    throw error;
  }
}

async function* joined<T>(first: T, rest: AsyncIterator<T>): AsyncIterable<T> {
  yield first;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}
