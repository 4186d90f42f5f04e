// Writing objects with what belongs to them: small ones in one request, large ones in parts.

import { createHash, hash } from 'node:crypto';
import { outliving } from '../../core/context.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { askXml, type Client } from './client.ts';
import type { Entry } from './entries.ts';
import { wordOf } from './failures.ts';
import type { HttpAnswer } from './http.ts';
import { isGone, look } from './looking.ts';
import { headerOfText, percentEncoded } from './text.ts';
import type { Receipt } from './written.ts';
import { escapeXml, textIn } from './xml.ts';

/** Larger objects are written in parts. */
export const PUT_BYTES_MAX = 16 * 1024 * 1024;
const PARTS_MAX = 10_000;
const PARTS_AHEAD = 3;

export interface Place {
  readonly bucket: string;
  /** Every write makes a version: one that is written twice is there twice. */
  readonly versioned: boolean;
  /** Objects may be locked. */
  readonly lockable: boolean;
}

export async function putWhole(
  ctx: Context,
  client: Client,
  place: Place,
  entry: Entry,
  body: Uint8Array,
  before: string,
): Promise<Receipt> {
  const what = `writing ${place.bucket}/${entry.key}`;
  const headers = headersOf(ctx, place, entry);
  if (headers['x-amz-object-lock-mode'] ?? headers['x-amz-object-lock-legal-hold']) {
    headers['content-md5'] = hash('md5', body, 'base64');
  }
  const answer = await client.send(ctx, what, {
    method: 'PUT',
    bucket: place.bucket,
    key: entry.key,
    headers,
    body,
    ...(entry.sha256 ? { sha256: entry.sha256 } : {}),
    done: () => writtenMeanwhile(ctx, client, place, entry, { etag: hash('md5', body, 'hex'), before }),
  });
  if (answer.headers.etag === undefined) throw new Failure('unreachable', `${what}: the answer was none of S3`);
  return receiptOf(answer);
}

/** All of it or none: the object is there only when its SHA-256 is right. */
export async function putParts(
  ctx: Context,
  client: Client,
  place: Place,
  entry: Entry,
  body: Bytes,
): Promise<Receipt> {
  const { bucket } = place;
  const { key, bytes = 0 } = entry;
  const what = `writing ${bucket}/${key}`;
  const begin = { method: 'POST', bucket, key, query: { uploads: '' }, headers: headersOf(ctx, place, entry) } as const;
  const id = textIn(await askXml(ctx, client, what, begin, 'InitiateMultipartUploadResult'), 'UploadId');
  if (id === '') throw new Failure('unreachable', `${what}: no upload id came`);
  try {
    const etags: string[] = [];
    const sum = createHash('sha256');
    const partBytes = Math.max(PUT_BYTES_MAX, Math.ceil(bytes / PARTS_MAX));
    await mapBounded(partsOf(body, partBytes), PARTS_AHEAD, async ({ data, number }) => {
      const query = { uploadId: id, partNumber: String(number) };
      const { headers } = await client.send(ctx, what, { method: 'PUT', bucket, key, query, body: data });
      etags[number - 1] = headers.etag ?? '';
    });
    async function* partsOf(chunks: Bytes, size: number): AsyncIterable<{ data: Buffer; number: number }> {
      let [number, came] = [0, 0];
      for await (const data of blocksOf(chunks, size)) {
        sum.update(data);
        came += data.length;
        number += 1;
        yield { data, number };
      }
      if (came !== bytes || sum.digest('hex') !== entry.sha256) throw damaged(entry, came);
    }
    return await complete(ctx, client, place, entry, { id, etags });
  } catch (error) {
    await abort(ctx, client, { bucket, key, id });
    throw error;
  }
}

export async function putMarker(ctx: Context, client: Client, { bucket }: Place, { key }: Entry): Promise<Receipt> {
  const what = `deleting ${bucket}/${key}`;
  const done = async (): Promise<HttpAnswer | null> => {
    try {
      await look(ctx, client, what, { bucket, key });
      return null;
    } catch (error) {
      if (!isGone(error)) throw error;
      return NOTHING; // it is gone, which is what the marker says
    }
  };
  return receiptOf(await client.send(ctx, what, { method: 'DELETE', bucket, key, done }));
}

export async function putAcl(ctx: Context, client: Client, { bucket }: Place, { key, acl }: Entry): Promise<void> {
  if (acl === undefined) return;
  const body = Buffer.from(acl);
  const headers = { 'content-md5': hash('md5', body, 'base64'), 'content-type': 'application/xml' };
  await client.send(ctx, `setting the ACL of ${bucket}/${key}`, {
    method: 'PUT',
    bucket,
    key,
    query: { acl: '' },
    headers,
    body,
  });
}

export function damaged({ key }: Entry, came: number): Failure {
  return new Failure('checksum', `${JSON.stringify(key)} is not what was captured: ${came} bytes of other content`, {
    hint: 'run lifeboat verify --all --read-data',
  });
}

/** Retention that is over is not set again: the server would refuse it. */
export function retentionLeft(ctx: Context, { retention }: Entry): Entry['retention'] | null {
  return retention && Date.parse(retention.until) > ctx.now().getTime() ? retention : null;
}

const NOTHING: HttpAnswer = { status: 204, headers: {}, chunks: [], bytes: 0 };

function headersOf(ctx: Context, { lockable }: Place, entry: Entry): Record<string, string> {
  const headers: Record<string, string> = {};
  const { headers: own = {}, metadata = {}, tags, storageClass, hold } = entry;
  for (const [name, text] of Object.entries(own)) headers[name] = headerOfText(text);
  for (const [name, text] of Object.entries(metadata)) headers[`x-amz-meta-${name}`] = headerOfText(text);
  if (tags) {
    const pairs = Object.entries(tags).map(([name, text]) => `${percentEncoded(name)}=${percentEncoded(text)}`);
    headers['x-amz-tagging'] = pairs.join('&');
  }
  if (storageClass !== undefined) headers['x-amz-storage-class'] = storageClass;
  const retention = retentionLeft(ctx, entry);
  if (lockable && retention) {
    headers['x-amz-object-lock-mode'] = retention.mode;
    headers['x-amz-object-lock-retain-until-date'] = retention.until;
  }
  if (lockable && hold) headers['x-amz-object-lock-legal-hold'] = 'ON';
  return headers;
}

/** Where every write makes a version, one whose answer was lost may have made it already. */
async function writtenMeanwhile(
  ctx: Context,
  client: Client,
  { bucket, versioned }: Place,
  { key, bytes }: Entry,
  { etag, before }: { etag: string; before: string },
): Promise<HttpAnswer | null> {
  if (!versioned) return null;
  try {
    const head = await look(ctx, client, `looking at ${bucket}/${key}`, { bucket, key });
    const same = head.headers.etag === `"${etag}"` && head.headers['content-length'] === String(bytes);
    return same && versionOf(head) !== before ? head : null;
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

async function complete(
  ctx: Context,
  client: Client,
  { bucket }: Place,
  { key, bytes }: Entry,
  { id, etags }: { id: string; etags: readonly string[] },
): Promise<Receipt> {
  const what = `finishing ${bucket}/${key}`;
  const parts = etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`);
  const body = Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`);
  const headers = { 'content-type': 'application/xml' };
  let again = false;
  async function done(): Promise<null> {
    again = true;
    return null;
  }
  const request = { method: 'POST', bucket, key, query: { uploadId: id }, headers, body, done } as const;
  let etag = '';
  try {
    const finished = await askXml(ctx, client, what, request, 'CompleteMultipartUploadResult');
    etag = textIn(finished, 'ETag').replaceAll('"', '');
  } catch (error) {
    // An attempt whose answer was lost may have finished it, after which the upload is gone. Or somebody dropped it:
    // without an ETag of ours, what is there will be read again.
    if (wordOf(error) !== 'NoSuchUpload' || !again) throw error;
  }
  const head = await look(ctx, client, what, { bucket, key });
  const receipt = { ...receiptOf(head), etag };
  const ours = etag === '' || receiptOf(head).etag === etag;
  if (ours && head.headers['content-length'] === String(bytes)) return receipt;
  throw new Failure('different', `${bucket}/${key} is not what was just written there`, {
    hint: 'does another program write to this bucket?',
  });
}

async function abort(
  ctx: Context,
  client: Client,
  { bucket, key, id }: { bucket: string; key: string; id: string },
): Promise<void> {
  const alive = outliving(ctx, 30_000); // also after the user stopped us
  const query = { uploadId: id };
  try {
    await client.send(alive, `dropping ${bucket}/${key}`, { method: 'DELETE', bucket, key, query });
  } catch (error) {
    // What broke the restore matters more. The parts are invisible but take space until somebody drops them.
    if (!isFailure(error, 'missing')) ctx.log.warn('unfinished upload left in the bucket', { bucket, key });
  }
}

/** In blocks of one size; the last may be smaller. */
async function* blocksOf(body: Bytes, size: number): AsyncIterable<Buffer> {
  let block = Buffer.allocUnsafe(size);
  let filled = 0;
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length; ) {
      const taken = Math.min(size - filled, chunk.length - at);
      block.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < size) continue;
      yield block;
      block = Buffer.allocUnsafe(size);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

function receiptOf(answer: HttpAnswer): Receipt {
  const { etag = '', date = '' } = answer.headers;
  return { version: versionOf(answer), etag: etag.replaceAll('"', ''), atMs: Date.parse(date) };
}

function versionOf({ headers }: HttpAnswer): string {
  return headers['x-amz-version-id'] ?? '';
}
