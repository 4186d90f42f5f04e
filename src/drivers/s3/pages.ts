// Pages of listings, as a server gives them.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { askXml, type Client } from './client.ts';
import type { Scope } from './settings.ts';
import { percentDecoded } from './text.ts';
import { childOf, childrenOf, type Element, textIn } from './xml.ts';

/** Stands for bytes that are no text, where a server does not encode what it lists. */
export const REPLACED = '\ufffd';

/** One object, one of its versions, or a delete marker, as a listing tells of it. */
export interface Listed {
  readonly key: string;
  /** Null where versions were not listed; 'null' is the name of a version. */
  readonly version: string | null;
  readonly latest: boolean;
  readonly marker: boolean;
  readonly etag: string;
  readonly bytes: number;
  readonly modified: string;
  readonly storageClass: string;
}
export type Page = readonly Listed[];

/** Any object of this scope; undefined when there is none. */
export async function firstOf(ctx: Context, client: Client, { bucket, prefix }: Scope): Promise<Listed | undefined> {
  const root = await ask(ctx, client, bucket, { 'list-type': '2', prefix, 'max-keys': '1' }, 'ListBucketResult');
  const first = childOf(root, 'Contents');
  return first && listedOf(first, isEncoded(root), null);
}

/** Any version or delete marker of this scope. */
export async function firstVersionOf(
  ctx: Context,
  client: Client,
  { bucket, prefix }: Scope,
): Promise<Listed | undefined> {
  const root = await ask(ctx, client, bucket, { versions: '', prefix, 'max-keys': '1' }, 'ListVersionsResult');
  const first = childOf(root, 'Version') ?? childOf(root, 'DeleteMarker');
  return first && listedOf(first, isEncoded(root), textIn(first, 'VersionId') || 'null');
}

/** Where keys that begin with the prefix can be parted, in order; only names of the first thousand folders. */
export async function foldersOf(
  ctx: Context,
  client: Client,
  bucket: string,
  prefix: string,
): Promise<{ readonly folders: readonly string[]; readonly objects: number }> {
  const root = await ask(ctx, client, bucket, { 'list-type': '2', prefix, delimiter: '/' }, 'ListBucketResult');
  const names = childrenOf(root, 'CommonPrefixes').map((each) => textIn(each, 'Prefix'));
  const folders = isEncoded(root) ? names.map(percentDecoded) : names;
  return { folders, objects: childrenOf(root, 'Contents').length };
}

/** Of the objects after the key `after`; '' is before all of them. */
export async function* objectPages(
  ctx: Context,
  client: Client,
  { bucket, prefix }: Scope,
  after: string,
): AsyncIterable<Page> {
  let token: string | undefined;
  do {
    const start = after === '' ? {} : { 'start-after': after };
    const query = { 'list-type': '2', prefix, ...(token === undefined ? start : { 'continuation-token': token }) };
    const root = await ask(ctx, client, bucket, query, 'ListBucketResult');
    const encoded = isEncoded(root);
    yield root.children.filter(({ name }) => name === 'Contents').map((each) => listedOf(each, encoded, null));
    token = isTruncated(root) ? textIn(root, 'NextContinuationToken') : undefined;
    if (token === '') throw noListing(client, bucket);
  } while (token !== undefined);
}

/** All versions of a key are held until they are all there: they are listed from the newest on. */
export async function* versionPages(
  ctx: Context,
  client: Client,
  { bucket, prefix }: Scope,
  after: string,
): AsyncIterable<Page> {
  let marker = after === '' ? undefined : { key: after, version: '' };
  let held: Listed[] = [];
  do {
    const id = marker?.version ? { 'version-id-marker': marker.version } : {};
    const begin = marker ? { 'key-marker': marker.key, ...id } : {};
    const root = await ask(ctx, client, bucket, { versions: '', prefix, ...begin }, 'ListVersionsResult');
    const encoded = isEncoded(root);
    for (const each of root.children) {
      if (each.name !== 'Version' && each.name !== 'DeleteMarker') continue;
      held.push(listedOf(each, encoded, textIn(each, 'VersionId') || 'null'));
    }
    marker = undefined;
    if (isTruncated(root)) {
      const key = textIn(root, 'NextKeyMarker');
      if (key === '') throw noListing(client, bucket);
      marker = { key: encoded ? percentDecoded(key) : key, version: textIn(root, 'NextVersionIdMarker') };
    }
    // The last key may have more versions on the next page.
    const last = marker === undefined ? undefined : held.at(-1)?.key;
    const begun = last === undefined ? held.length : held.findIndex(({ key }) => key === last);
    yield oldestFirst(held.slice(0, begun));
    held = held.slice(begun);
  } while (marker !== undefined);
}

function oldestFirst(newestFirst: readonly Listed[]): Listed[] {
  const page: Listed[] = [];
  let from = 0;
  for (let at = 1; at <= newestFirst.length; at++) {
    if (newestFirst[at]?.key === newestFirst[from]?.key) continue;
    page.push(...newestFirst.slice(from, at).reverse());
    from = at;
  }
  return page;
}

async function ask(
  ctx: Context,
  client: Client,
  bucket: string,
  query: Readonly<Record<string, string>>,
  name: string,
): Promise<Element> {
  const whole = { 'encoding-type': 'url', ...query };
  const request = { method: 'GET', bucket, query: whole } as const;
  const root = await askXml(ctx, client, `listing ${bucket}`, request, name);
  // A proxy's page would read as an empty listing.
  if (textIn(root, 'IsTruncated') === '') throw noListing(client, bucket);
  return root;
}

function listedOf(element: Element, encoded: boolean, version: string | null): Listed {
  const key = textIn(element, 'Key');
  const marker = element.name === 'DeleteMarker';
  const bytes = marker ? 0 : Number(textIn(element, 'Size') || Number.NaN);
  const modified = new Date(textIn(element, 'LastModified'));
  if (key === '' || !Number.isSafeInteger(bytes) || Number.isNaN(modified.getTime())) {
    throw new Failure('unreachable', 'a listing names an object without key, size or time');
  }
  return {
    key: encoded ? percentDecoded(key) : key,
    version,
    latest: version === null || textIn(element, 'IsLatest') === 'true',
    marker,
    etag: textIn(element, 'ETag').replaceAll('"', ''),
    bytes,
    modified: modified.toISOString(),
    storageClass: textIn(element, 'StorageClass') || 'STANDARD',
  };
}

function isEncoded(root: Element): boolean {
  return childOf(root, 'EncodingType')?.text === 'url';
}

function isTruncated(root: Element): boolean {
  return textIn(root, 'IsTruncated') === 'true';
}

function noListing({ where }: Client, bucket: string): Failure {
  return new Failure('unreachable', `listing ${bucket} at ${where}: the answer was no listing of S3`);
}
