import type { ListObjectsV2Output } from '@aws-sdk/client-s3';
import { Failure } from '../../core/errors.ts';
import type { Context, ObjectInfo } from '../../core/model.ts';
import { retried } from '../retrying.ts';
import type { Connection } from './connection.ts';
import { isArchivedClass } from './objects.ts';

export async function* listObjects(ctx: Context, connection: Connection, prefix: string): AsyncIterable<ObjectInfo> {
  for await (const { page, text } of pages(ctx, connection, prefix, undefined)) {
    for (const { Key, Size: bytes, LastModified: modifiedAt, StorageClass, RestoreStatus } of page.Contents ?? []) {
      if (Key === undefined || bytes === undefined || modifiedAt === undefined) throw noListing(connection, prefix);
      const key = text(Key).slice(connection.prefix.length);
      if (key === '' || key.endsWith('/')) continue; // a console's mark for an empty folder
      const thawed = RestoreStatus?.RestoreExpiryDate !== undefined;
      yield { key, bytes, modifiedAt, ...(isArchivedClass(StorageClass) && !thawed ? { archived: true } : {}) };
    }
  }
}

export async function* listFolders(ctx: Context, connection: Connection, prefix: string): AsyncIterable<string> {
  for await (const { page, text } of pages(ctx, connection, prefix, '/')) {
    for (const { Prefix = '' } of page.CommonPrefixes ?? []) {
      yield text(Prefix).slice(connection.prefix.length + prefix.length);
    }
  }
}

interface Page {
  readonly page: ListObjectsV2Output;
  /** Names come encoded, because XML can't hold all that a key may. */
  text(encoded: string): string;
}

async function* pages(
  ctx: Context,
  connection: Connection,
  prefix: string,
  delimiter: string | undefined,
): AsyncIterable<Page> {
  let next: string | undefined;
  do {
    const page = await retried(ctx, connection.retry, () => onePage(ctx, connection, prefix, delimiter, next));
    const encoded = page.EncodingType === 'url';
    yield { page, text: (name) => (encoded ? decodeURIComponent(name.replaceAll('+', ' ')) : name) };
    if (page.IsTruncated && page.NextContinuationToken === undefined) throw noListing(connection, prefix);
    next = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (next !== undefined);
}

async function onePage(
  ctx: Context,
  connection: Connection,
  prefix: string,
  delimiter: string | undefined,
  token: string | undefined,
): Promise<ListObjectsV2Output> {
  const page = await connection.call(ctx, `listing ${prefix}`, (s3, options) =>
    s3.listObjectsV2(
      {
        Bucket: connection.bucket,
        Prefix: connection.prefix + prefix,
        EncodingType: 'url',
        OptionalObjectAttributes: ['RestoreStatus'],
        ...(delimiter === undefined ? {} : { Delimiter: delimiter }),
        ...(token === undefined ? {} : { ContinuationToken: token }),
      },
      options,
    ),
  );
  // An error or a proxy's page with status 200 would read as an empty listing.
  if (page.IsTruncated === undefined) throw noListing(connection, prefix);
  return page;
}

function noListing({ url }: Connection, prefix: string): Failure {
  return new Failure('unreachable', `listing ${prefix} in ${url}: the answer was no listing of S3`);
}
