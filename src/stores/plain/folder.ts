// The folder of a component whose parts are many. It tells by itself what it is: it has a list of its files, and what
// the manifest says of the component, written last. So it can be copied away and restored alone.

import { z } from 'zod';
import { byteOrder, lineBatchesOf, measured } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import { manifestJson, pointFrom } from '../../core/manifest.ts';
import type { Bytes, Context, Finding } from '../../core/model.ts';
import { isThere } from '../../core/objects.ts';
import { mapOrdered } from '../../core/parallel.ts';
import type { CapturedComponent, RecoveryPoint } from '../../core/point.ts';
import type { Bucket } from '../../core/storage.ts';
import { type Entry, parseEntry } from './entries.ts';
import { gunzipped, gzipped } from './gzip.ts';
import { aboutKey, listKey } from './keys.ts';
import { type FolderProof, folderProofSchema } from './manifest.ts';
import { findJson, putBody } from './objects.ts';

const LOOKS_AT_ONCE = 16;
/** Of files that are missing or changed; the others are counted. */
const NAMED_MAX = 10;
const LIST_BYTES_MAX = 16 * 1024 ** 3;

const aboutSchema = z.looseObject({ files: folderProofSchema });

export interface AboutFolder {
  readonly point: RecoveryPoint;
  readonly component: string;
  readonly captured: CapturedComponent;
  readonly files: FolderProof;
}

/** The list, from the part list of the component: names of files are as seen from the folder. */
export async function putFolderList(
  ctx: Context,
  bucket: Bucket,
  folder: string,
  partList: Bytes,
): Promise<FolderProof> {
  let [count, bytes] = [0, 0];
  async function* lines(): Bytes {
    for await (const batch of lineBatchesOf(partList)) {
      let text = '';
      for (const line of batch) {
        if (line === '') continue;
        const entry = parseEntry(line, folder);
        if (!entry.key.startsWith(folder)) continue;
        count += 1;
        bytes += entry.stored.bytes;
        text += `${JSON.stringify({ ...entry, key: entry.key.slice(folder.length) })}\n`;
      }
      yield Buffer.from(text);
    }
  }
  const packed = measured(gzipped(lines()));
  await putBody(ctx, bucket, listKey(folder), packed.body);
  return { count, bytes, list: packed.sum() };
}

/** From now on the folder is whole. */
export async function putAboutFolder(
  ctx: Context,
  bucket: Bucket,
  folder: string,
  { point, component, captured, files }: AboutFolder,
): Promise<void> {
  const json = { ...manifestJson({ ...point, components: { [component]: captured } }), files };
  await bucket.put(ctx, aboutKey(folder), Buffer.from(`${JSON.stringify(json, null, 2)}\n`), {
    contentType: 'application/json',
  });
}

/** Whether a folder is one of ours, finished or not. */
export async function isOwnFolder(ctx: Context, bucket: Bucket, folder: string): Promise<boolean> {
  return (await isThere(ctx, bucket, aboutKey(folder))) || (await isThere(ctx, bucket, listKey(folder)));
}

/** 'missing' when it was never finished, or not all of it was copied here. */
export async function aboutFolder(ctx: Context, bucket: Bucket, folder: string): Promise<AboutFolder> {
  const key = aboutKey(folder);
  const json = await findJson(ctx, bucket, key, aboutSchema);
  if (!json) {
    throw new Failure('missing', `${key} is missing: the backup was not finished, or not all of it was copied here`);
  }
  const point = pointFrom(json, folder);
  const [[component, captured] = [], ...others] = Object.entries(point.components);
  if (component === undefined || !captured || captured.error || others.length > 0) {
    throw new Failure('malformed', `${key} does not say which component the folder is of`);
  }
  return { point, component, captured, files: json.files };
}

/** In byte order of the parts' names, with the keys that they have here. 'checksum' unless it is the list. */
export async function* folderEntries(
  ctx: Context,
  bucket: Bucket,
  folder: string,
  { list }: FolderProof,
): AsyncIterable<readonly Entry[]> {
  const key = listKey(folder);
  const stored = measured(bucket.get(ctx, key));
  let before: string | undefined;
  for await (const lines of lineBatchesOf(gunzipped(stored.body, key, LIST_BYTES_MAX))) {
    const entries = lines.filter((line) => line !== '').map((line) => parseEntry(line, folder));
    for (const { name, key: file } of entries) {
      const inOrder = before === undefined || byteOrder(before, name) < 0;
      if (!inOrder || !isBelow(file)) throw new Failure('malformed', `${key}: ${file} does not belong there`);
      before = name;
    }
    yield entries.map((entry) => ({ ...entry, key: folder + entry.key }));
  }
  const { bytes, sha256 } = stored.sum();
  if (bytes !== list.bytes || sha256 !== list.sha256) {
    throw new Failure('checksum', `${key} is not the list that was written`);
  }
}

/** What is missing or has another size. Nothing is read but the list. */
export async function folderFindings(
  ctx: Context,
  bucket: Bucket,
  folder: string,
  files: FolderProof,
): Promise<readonly Finding[]> {
  if (await hasAll(ctx, bucket, folder, files)) return [];
  const findings: Finding[] = [];
  let wrong = 0;
  async function* entries(): AsyncIterable<Entry> {
    for await (const some of folderEntries(ctx, bucket, folder, files)) yield* some;
  }
  for await (const finding of mapOrdered(entries(), LOOKS_AT_ONCE, (entry) => look(ctx, bucket, entry))) {
    if (finding && ++wrong <= NAMED_MAX) findings.push(finding);
  }
  if (wrong > NAMED_MAX) {
    const detail = `${wrong - NAMED_MAX} more of its ${files.count} files are missing or changed`;
    findings.push({ check: `${folder} is whole`, verdict: 'fail', detail });
  }
  return findings;
}

/** By number and size, which a listing tells. Other programs may have put files there, so that a no may be a yes. */
async function hasAll(ctx: Context, bucket: Bucket, folder: string, files: FolderProof): Promise<boolean> {
  const own = [aboutKey(folder), listKey(folder)];
  let [count, bytes] = [0, 0];
  for await (const info of bucket.list(ctx, folder)) {
    if (own.includes(info.key)) continue;
    count += 1;
    bytes += info.bytes;
  }
  return count === files.count && bytes === files.bytes;
}

async function look(ctx: Context, bucket: Bucket, { key, stored }: Entry): Promise<Finding | null> {
  const check = `${key} is whole`;
  try {
    const { bytes } = await bucket.head(ctx, key);
    if (bytes === stored.bytes) return null;
    return { check, verdict: 'fail', detail: `it has ${bytes} bytes and its list says ${stored.bytes}` };
  } catch (error) {
    if (!isFailure(error, 'missing')) throw error;
    return { check, verdict: 'fail', detail: 'it is missing' };
  }
}

function isBelow(file: string): boolean {
  return file.split('/').every((segment) => !['', '.', '..'].includes(segment));
}
