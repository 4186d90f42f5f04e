import type { ListObjectsV2Output } from '@aws-sdk/client-s3';
import { byteOrder } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { ObjectInfo } from '../../core/storage.ts';
import { isKey, sortByBytes } from '../keys.ts';
import { retried } from '../retrying.ts';
import type { Connection } from './connection.ts';
import { isArchivedClass } from './objects.ts';

/** In byte order, whatever the server's own is, as long as it is known how it differs. */
export async function* listObjects(ctx: Context, connection: Connection, prefix: string): AsyncIterable<ObjectInfo> {
  let last: string | undefined;
  for await (const page of pages(ctx, connection, prefix, undefined)) {
    if (!page.more && last === undefined) return yield* sortByBytes(page.objects, ({ key }) => key);
    if (connection.ordersByFolder()) return yield* walk(ctx, connection, prefix);
    for (const info of page.objects) {
      if (last !== undefined && byteOrder(info.key, last) <= 0) throw outOfOrder(connection, info.key, last);
      last = info.key;
      yield info;
    }
  }
}

export async function* listFolders(ctx: Context, connection: Connection, prefix: string): AsyncIterable<string> {
  const names: string[] = [];
  for await (const { folders } of pages(ctx, connection, prefix, '/')) names.push(...folders);
  yield* sortByBytes(names, (name) => name).map((name) => name.slice(prefix.length));
}

export async function* listFiles(ctx: Context, connection: Connection, prefix: string): AsyncIterable<ObjectInfo> {
  const files: ObjectInfo[] = [];
  for await (const { objects } of pages(ctx, connection, prefix, '/')) files.push(...objects);
  yield* sortByBytes(files, ({ key }) => key);
}

/** Folder by folder, each sorted by itself. */
async function* walk(ctx: Context, connection: Connection, prefix: string): AsyncIterable<ObjectInfo> {
  const level: (ObjectInfo | { readonly key: string; readonly bytes: null })[] = [];
  for await (const { objects, folders } of pages(ctx, connection, prefix, '/')) {
    level.push(...objects, ...folders.map((key) => ({ key, bytes: null })));
  }
  for (const entry of sortByBytes(level, ({ key }) => key)) {
    if (entry.bytes === null) yield* walk(ctx, connection, entry.key);
    else yield entry;
  }
}

interface Page {
  readonly objects: ObjectInfo[];
  readonly folders: readonly string[];
  readonly more: boolean;
}

async function* pages(
  ctx: Context,
  connection: Connection,
  prefix: string,
  delimiter: '/' | undefined,
): AsyncIterable<Page> {
  let next: string | undefined;
  do {
    const page = await retried(ctx, connection.retry, () => onePage(ctx, connection, prefix, delimiter, next));
    if (page.IsTruncated && page.NextContinuationToken === undefined) throw noListing(connection, prefix);
    next = page.IsTruncated ? page.NextContinuationToken : undefined;
    yield parsePage(page, connection, prefix, next !== undefined);
  } while (next !== undefined);
}

function parsePage(page: ListObjectsV2Output, connection: Connection, prefix: string, more: boolean): Page {
  const objects: ObjectInfo[] = [];
  for (const each of page.Contents ?? []) {
    const { Key, Size: bytes, LastModified: modifiedAt, StorageClass: storageClass, RestoreStatus } = each;
    if (Key === undefined || bytes === undefined || modifiedAt === undefined) throw noListing(connection, prefix);
    const key = keyOf(Key, page, connection);
    if (key === null || key.endsWith('/')) continue; // the latter is a console's mark for an empty folder
    const archived = isArchivedClass(storageClass) && RestoreStatus?.RestoreExpiryDate === undefined;
    const archival = archived ? { archived, ...(storageClass === undefined ? {} : { storageClass }) } : {};
    objects.push({ key, bytes, modifiedAt, ...archival });
  }
  const folders = (page.CommonPrefixes ?? []).map(({ Prefix = '' }) => keyOf(Prefix, page, connection));
  return { objects, folders: folders.filter((folder) => folder !== null), more };
}

/**
 * Names come encoded, because XML can't hold all that a key may. Null for what can be no key or folder of ours: in a
 * bucket that others use, too, lie names that are no text, and '//'.
 */
function keyOf(name: string, { EncodingType }: ListObjectsV2Output, { prefix }: Connection): string | null {
  try {
    const text = EncodingType === 'url' ? decodeURIComponent(name.replaceAll('+', ' ')) : name;
    const key = text.slice(prefix.length);
    return isKey(key.replace(/\/$/, '')) ? key : null;
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}

async function onePage(
  ctx: Context,
  connection: Connection,
  prefix: string,
  delimiter: '/' | undefined,
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

function outOfOrder({ url }: Connection, key: string, last: string): Failure {
  return new Failure('malformed', `${url} lists ${key} after ${last}: this server does not list in the order of S3`);
}
