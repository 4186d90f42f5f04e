// Buckets and their settings: versioning, object lock, lifecycle and the like, each as the server gives it.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context, InventoryLine, Source } from '../../core/model.ts';
import { askXml, type Client, xmlOf } from './client.ts';
import { bucketOrder } from './entries.ts';
import { isUnknownToServer, wordOf } from './failures.ts';
import { look } from './looking.ts';
import type { Scope } from './settings.ts';
import { canonicalXml, childOf, childrenOf, parseXml, textIn } from './xml.ts';

export const BUCKETS_PART = 'buckets.json';
const SETTINGS_BYTES_MAX = 1024 * 1024;

/** In the order in which they are set back; the words are those of the requests. */
export const BUCKET_SETTINGS = [
  'encryption',
  'versioning',
  'tagging',
  'cors',
  'policy',
  'object-lock',
  'lifecycle',
] as const;
export type BucketSetting = (typeof BUCKET_SETTINGS)[number];

export const bucketSchema = z.object({
  name: z.string(),
  prefix: z.string(),
  exclude: z.array(z.string()),
  versions: z.boolean(),
  settings: z.partialRecord(z.enum(BUCKET_SETTINGS), z.string()),
  /** What the server does not know, or the key may not ask for, each with its reason. */
  unknown: z.partialRecord(z.enum(BUCKET_SETTINGS), z.string()),
});
const captured = z.object({
  /** As it calls itself. */
  server: z.string(),
  /** The cut, by the server's clock. */
  at: z.string(),
  buckets: z.array(bucketSchema),
});
export type CapturedBuckets = z.output<typeof captured>;
export type CapturedBucket = CapturedBuckets['buckets'][number];

/** The buckets that the settings mean, in the order of entries. 'missing' when one is not there. */
export async function scopesOf(ctx: Context, client: Client): Promise<Scope[]> {
  const { scopes, versions } = client.settings;
  const all =
    scopes ?? (await bucketNames(ctx, client)).map((bucket) => ({ bucket, prefix: '', versions, exclude: [] }));
  return all.toSorted((a, b) => bucketOrder(a.bucket, b.bucket));
}

export async function bucketNames(ctx: Context, client: Client): Promise<string[]> {
  const root = await askXml(ctx, client, 'listing the buckets', { method: 'GET' }, 'ListAllMyBucketsResult');
  const list = childOf(root, 'Buckets');
  return list ? childrenOf(list, 'Bucket').map((bucket) => textIn(bucket, 'Name')) : [];
}

export async function bucketExists(ctx: Context, client: Client, bucket: string): Promise<boolean> {
  try {
    await look(ctx, client, `looking for ${bucket}`, { bucket });
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  }
}

export async function capturedBucket(
  ctx: Context,
  client: Client,
  { bucket, prefix, versions, exclude }: Scope,
): Promise<CapturedBucket> {
  const settings: Partial<Record<BucketSetting, string>> = {};
  const unknown: Partial<Record<BucketSetting, string>> = {};
  for (const name of BUCKET_SETTINGS) {
    try {
      const text = await settingOf(ctx, client, bucket, name);
      if (text !== null) settings[name] = text;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (!isUnknownToServer(error) && error.code !== 'denied') throw error;
      unknown[name] = error.code === 'denied' ? 'the key may not ask for it' : 'the server does not know it';
    }
  }
  return { name: bucket, prefix, versions, exclude: [...exclude], settings, unknown };
}

/** Null when there is none. */
export async function settingOf(
  ctx: Context,
  client: Client,
  bucket: string,
  name: BucketSetting,
): Promise<string | null> {
  const what = `reading the ${name} of ${bucket}`;
  try {
    const answer = await client.send(ctx, what, { method: 'GET', bucket, query: { [name]: '' } });
    const text = Buffer.concat(answer.chunks).toString('utf8');
    // An empty one is what buckets have that were never told.
    if (name === 'versioning' && textIn(xmlOf(what, answer, 'VersioningConfiguration'), 'Status') === '') return null;
    return text;
  } catch (error) {
    // 'NoSuchCORSConfiguration' and its like: but the bucket must be there.
    if (isFailure(error, 'missing') && wordOf(error) !== 'NoSuchBucket') return null;
    throw error;
  }
}

export async function putSetting(
  ctx: Context,
  client: Client,
  bucket: string,
  name: BucketSetting,
  text: string,
): Promise<void> {
  const body = Buffer.from(text);
  const md5 = createHash('md5').update(body).digest('base64');
  await client.send(ctx, `setting the ${name} of ${bucket}`, {
    method: 'PUT',
    bucket,
    query: { [name]: '' },
    headers: { 'content-md5': md5, 'content-type': name === 'policy' ? 'application/json' : 'application/xml' },
    body,
  });
}

export async function dropSetting(ctx: Context, client: Client, bucket: string, name: BucketSetting): Promise<void> {
  await client.send(ctx, `dropping the ${name} of ${bucket}`, { method: 'DELETE', bucket, query: { [name]: '' } });
}

export async function readBuckets(ctx: Context, source: Source): Promise<CapturedBuckets> {
  const what = `${source.point}/${source.component}/${BUCKETS_PART}`;
  const text = (await readAll(source.get(ctx, BUCKETS_PART))).toString('utf8');
  try {
    return captured.parse(JSON.parse(text));
  } catch (cause) {
    throw new Failure('malformed', `${what} does not say what the buckets were`, { cause });
  }
}

/** Lines of an inventory. The lifecycle is none: a restore sets it back last, after the comparison. */
export function settingLines({ name, prefix, settings, unknown }: CapturedBucket): InventoryLine[] {
  return BUCKET_SETTINGS.filter((each) => each !== 'lifecycle' && unknown[each] === undefined).map((each) => {
    const text = settings[each];
    const digest = text === undefined ? 'none' : digestOf(each, text);
    return { kind: 'setting', name: `${name}/${each}`, count: null, digest, ...(prefix ? { detail: { prefix } } : {}) };
  });
}

/** Rules that delete or move by age, in words. */
export function ageingRules(bucket: string, lifecycle: string | null | undefined): string[] {
  if (!lifecycle) return [];
  if (lifecycle.length > SETTINGS_BYTES_MAX) throw new Failure('malformed', `the lifecycle of ${bucket} is too long`);
  const rules = childrenOf(parseXml(lifecycle), 'Rule').filter((rule) => textIn(rule, 'Status') === 'Enabled');
  return rules.map((rule) => `the lifecycle rule ${textIn(rule, 'ID') || 'without a name'} of bucket ${bucket}`);
}

function digestOf(name: BucketSetting, text: string): string {
  const canonical = name === 'policy' ? canonicalJson(JSON.parse(text)) : canonicalXml(parseXml(text));
  return `sha256:${createHash('sha256').update(canonical).digest('hex')}`;
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value))
    return value.length === 1 ? canonicalJson(value[0]) : `[${value.map(canonicalJson).sort()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, each]) => `${JSON.stringify(name)}:${canonicalJson(each)}`)}}`;
}
