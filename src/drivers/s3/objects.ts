// Reading objects, with what belongs to them. Every answer fits into memory: large objects are read in ranges.

import { hash } from 'node:crypto';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import { askXml, type Client } from './client.ts';
import type { Entry } from './entries.ts';
import { isUnknownToServer, wordOf } from './failures.ts';
import type { HttpAnswer } from './http.ts';
import { isGone, look } from './looking.ts';
import type { Listed } from './pages.ts';
import { textOfHeader } from './text.ts';
import { childOf, childrenOf, textIn } from './xml.ts';

/** Larger ones are read in ranges of this size, several at a time. */
const RANGE_BYTES = 8 * 1024 * 1024;
const RANGES_AHEAD = 3;
const HEADERS = [
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-type',
  'expires',
  'x-amz-website-redirect-location',
] as const;
const METADATA = 'x-amz-meta-';

/** What is known of an object once its first bytes are there. */
export interface Opened {
  readonly entry: Entry;
  readonly chunks: readonly Buffer[];
}
interface Place {
  readonly bucket: string;
  readonly listed: Listed;
}

/** The object as it is now: another one than was listed when it has changed meanwhile. Null when it is gone. */
export async function openObject(ctx: Context, client: Client, place: Place): Promise<Opened | null> {
  const { bucket, listed } = place;
  const { key, bytes, version, etag } = listed;
  const what = whatOf('reading', place);
  const large = bytes > RANGE_BYTES;
  const query = version === null ? {} : { query: { versionId: version } };
  const condition = version === null && etag !== '' ? { 'if-match': `"${etag}"` } : {};
  const range = large ? { range: `bytes=0-${RANGE_BYTES - 1}` } : {};
  try {
    const answer = await client.send(ctx, what, {
      method: 'GET',
      bucket,
      key,
      ...query,
      headers: { ...condition, ...range },
      bytesMax: RANGE_BYTES,
    });
    const came = large ? totalOf(what, answer) : answer.bytes;
    if (came !== bytes) throw new Failure('different', `${what}: it has ${came} bytes and was listed with ${bytes}`);
    const entry = await withAsked(ctx, client, place, entryOf(place, answer), taggingCount(answer) > 0);
    return { entry, chunks: answer.chunks };
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** What belongs to the object, without its content; null when it is gone. Tags are asked for: a HEAD may hide them. */
export async function describeObject(ctx: Context, client: Client, place: Place): Promise<Entry | null> {
  return await unlessGone(async () => {
    const entry = entryOf(place, await headOf(ctx, client, place));
    return await withAsked(ctx, client, place, entry, true);
  });
}

/** The entry of an unchanged object with its tags, ACL and, where the bucket has locks, its lock as they are now. */
export async function recheckObject(
  ctx: Context,
  client: Client,
  place: Place,
  { entry, lockable }: { readonly entry: Entry; readonly lockable: boolean },
): Promise<Entry | null> {
  const { tags: _tags, acl: _acl, retention, hold, seen: _seen, ...rest } = entry;
  return await unlessGone(async () => {
    const lock = lockable ? lockOf(await headOf(ctx, client, place)) : { retention, hold };
    const known = { ...rest, ...(lock.retention ? { retention: lock.retention } : {}) };
    return await withAsked(ctx, client, place, { ...known, ...(lock.hold ? { hold: true as const } : {}) }, true);
  });
}

async function headOf(ctx: Context, client: Client, place: Place): Promise<HttpAnswer> {
  const { bucket, listed } = place;
  const query = listed.version === null ? {} : { query: { versionId: listed.version } };
  return await look(ctx, client, whatOf('looking at', place), { bucket, key: listed.key, ...query });
}

async function unlessGone<T>(ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask();
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** The rest of a large object, in order. 'different' when it changes meanwhile. */
export async function* restOf(ctx: Context, client: Client, { entry, chunks }: Opened): Bytes {
  yield* chunks;
  const { bucket, key, version, etag = '', bytes = 0 } = entry;
  const offsets: number[] = [];
  for (let at = RANGE_BYTES; at < bytes; at += RANGE_BYTES) offsets.push(at);
  const what = `reading ${bucket}/${key}`;
  const ranges = mapOrdered(offsets, RANGES_AHEAD, async (offset) => {
    const length = Math.min(RANGE_BYTES, bytes - offset);
    const answer = await client.send(ctx, what, {
      method: 'GET',
      bucket,
      key,
      ...(version === null ? {} : { query: { versionId: version } }),
      headers: { 'if-match': `"${etag}"`, range: `bytes=${offset}-${offset + length - 1}` },
      bytesMax: length,
    });
    if (answer.bytes === length) return answer.chunks;
    throw new Failure('unreachable', `${what}: ${answer.bytes} bytes came where ${length} were asked for`);
  });
  for await (const range of ranges) yield* range;
}

export function wholeOf({ chunks }: Opened): Buffer {
  const [only] = chunks;
  return chunks.length === 1 && only ? only : Buffer.concat(chunks);
}

export function sha256Of(data: Uint8Array): string {
  return hash('sha256', data, 'hex');
}

function entryOf({ bucket, listed }: Place, { headers: said }: HttpAnswer): Entry {
  const headers: Record<string, string> = {};
  const metadata: Record<string, string> = {};
  for (const name of HEADERS) if (first(said, name) !== '') headers[name] = textOfHeader(first(said, name));
  for (const name in said) {
    if (name.startsWith(METADATA)) metadata[name.slice(METADATA.length)] = textOfHeader(first(said, name));
  }
  const { key, version, latest, modified, bytes } = listed;
  const storageClass = first(said, 'x-amz-storage-class') || listed.storageClass;
  const { retention, hold } = lockOf({ headers: said });
  return {
    bucket,
    key,
    version,
    latest,
    modified,
    etag: first(said, 'etag').replaceAll('"', ''),
    bytes,
    sha256: null,
    headers,
    ...(Object.keys(metadata).length > 0 ? { metadata } : {}),
    ...(storageClass === 'STANDARD' ? {} : { storageClass }),
    ...(retention ? { retention } : {}),
    ...(hold ? { hold } : {}),
  };
}

function lockOf({ headers }: Pick<HttpAnswer, 'headers'>): Pick<Entry, 'retention' | 'hold'> {
  const mode = first(headers, 'x-amz-object-lock-mode');
  const until = first(headers, 'x-amz-object-lock-retain-until-date');
  return {
    ...(mode !== '' && until !== '' ? { retention: { mode, until } } : {}),
    ...(first(headers, 'x-amz-object-lock-legal-hold') === 'ON' ? { hold: true as const } : {}),
  };
}

/** With what takes a request of its own. */
async function withAsked(ctx: Context, client: Client, place: Place, entry: Entry, tagged: boolean): Promise<Entry> {
  const { tags: wanted, acl: wantsAcl } = client.settings;
  const asksTags = wanted === 'always' || (wanted === 'auto' && tagged);
  if (!asksTags && !wantsAcl) return entry;
  const tags = asksTags ? await tagsOf(ctx, client, place) : {};
  const acl = wantsAcl ? await aclOf(ctx, client, place) : null;
  return { ...entry, ...(Object.keys(tags).length > 0 ? { tags } : {}), ...(acl === null ? {} : { acl }) };
}

/** Of the listed version. */
async function tagsOf(ctx: Context, client: Client, place: Place): Promise<Readonly<Record<string, string>>> {
  const what = whatOf('reading the tags of', place);
  const root = await askXml(ctx, client, what, asking(place, 'tagging'), 'Tagging').catch((error: unknown) => {
    if (wordOf(error) === 'NoSuchTagSet') return null;
    throw error;
  });
  const set = root && childOf(root, 'TagSet');
  const tags = set ? childrenOf(set, 'Tag').map((tag) => [textIn(tag, 'Key'), textIn(tag, 'Value')] as const) : [];
  return Object.fromEntries(tags);
}

/** Null where the server knows none. */
export async function aclOf(ctx: Context, client: Client, place: Place): Promise<string | null> {
  try {
    const { chunks } = await client.send(ctx, whatOf('reading the ACL of', place), asking(place, 'acl'));
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    if (isUnknownToServer(error)) return null;
    throw error;
  }
}

function asking({ bucket, listed: { key, version } }: Place, what: string) {
  const query: Record<string, string> = { [what]: '', ...(version === null ? {} : { versionId: version }) };
  return { method: 'GET', bucket, key, query } as const;
}

function whatOf(verb: string, { bucket, listed: { key } }: Place): string {
  return `${verb} ${bucket}/${key}`;
}

function taggingCount({ headers }: HttpAnswer): number {
  return Number(first(headers, 'x-amz-tagging-count') || 0);
}

/** 'bytes 0-8388607/1073741824' */
function totalOf(what: string, { status, headers }: HttpAnswer): number {
  const [, total] = /^bytes 0-\d+\/(\d+)$/.exec(first(headers, 'content-range')) ?? [];
  if (status === 206 && total !== undefined) return Number(total);
  throw new Failure('query-failed', `${what}: this server ignores that only a range was asked for`);
}

/** Of a header that may have come twice. */
function first(headers: Readonly<Record<string, string | readonly string[]>>, name: string): string {
  const value = headers[name] ?? '';
  return typeof value === 'string' ? value : (value[0] ?? '');
}
