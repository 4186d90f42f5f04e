// The buckets that a restore goes into: made, emptied where that was asked for, and given their settings.

import { createHash } from 'node:crypto';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { BUCKET_SETTINGS, type BucketSetting, bucketExists, putSetting, settingOf } from './buckets.ts';
import { askXml, type Client } from './client.ts';
import { isUnknownToServer } from './failures.ts';
import { firstIn, listed } from './listing.ts';
import type { Listed } from './pages.ts';
import type { Wanted } from './selection.ts';
import type { Scope } from './settings.ts';
import { childrenOf, escapeXml, textIn } from './xml.ts';

/** S3 takes no more in one request. */
export const DELETED_TOGETHER = 1000;
const VERSIONING = '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status>';
const ENABLED = `${VERSIONING}</VersioningConfiguration>`;

/** Refuses, with nothing changed, where the restore would meet objects. */
export async function refuseData(ctx: Context, client: Client, wanted: readonly Wanted[]): Promise<void> {
  for (const each of wanted) {
    const met = await dataIn(ctx, client, each);
    if (met === null) continue;
    throw new Failure('target-not-empty', `bucket ${each.target} at ${client.where} holds ${met}`, {
      hint: 'restore into another bucket (--rename), only what differs (--delta), or in place (--in-place)',
    });
  }
}

/** Makes the bucket if it is not there, and says whether it did. */
export async function makeBucket(ctx: Context, client: Client, { captured, target }: Wanted): Promise<boolean> {
  if (await bucketExists(ctx, client, target)) return false;
  const lock = captured.settings['object-lock'] === undefined ? {} : { 'x-amz-bucket-object-lock-enabled': 'true' };
  const elsewhere = client.settings.endpoint === null && client.region !== 'us-east-1';
  const place = `<LocationConstraint>${escapeXml(client.region)}</LocationConstraint>`;
  const body = Buffer.from(`<CreateBucketConfiguration>${place}</CreateBucketConfiguration>`);
  const request = { method: 'PUT', bucket: target, headers: lock, ...(elsewhere ? { body } : {}) } as const;
  try {
    await client.send(ctx, `making the bucket ${target}`, request);
  } catch (error) {
    // An attempt whose answer was lost may have made it.
    if (!isFailure(error, 'exists') || !(await bucketExists(ctx, client, target))) throw error;
  }
  return true;
}

/** Null where there is none, or the server knows none. */
export async function lifecycleOf(ctx: Context, client: Client, bucket: string): Promise<string | null> {
  try {
    return await settingOf(ctx, client, bucket, 'lifecycle');
  } catch (error) {
    if (isUnknownToServer(error) || isFailure(error, 'denied')) return null;
    throw error;
  }
}

/** Null when the server keeps versions from here on; else why it does not. */
export async function enableVersions(ctx: Context, client: Client, { target }: Wanted): Promise<string | null> {
  const now = await settingOf(ctx, client, target, 'versioning').catch((error: unknown) => {
    if (isUnknownToServer(error)) return null;
    throw error;
  });
  if (now?.includes('>Enabled<')) return null;
  try {
    await putSetting(ctx, client, target, 'versioning', ENABLED);
    return null;
  } catch (error) {
    if (isUnknownToServer(error)) return messageOf(error);
    throw error;
  }
}

/** True when objects in it may be locked. */
export async function isLockable(ctx: Context, client: Client, bucket: string): Promise<boolean> {
  try {
    return (await settingOf(ctx, client, bucket, 'object-lock')) !== null;
  } catch (error) {
    if (isUnknownToServer(error) || isFailure(error, 'denied')) return false;
    throw error;
  }
}

/** Sets back what the bucket had, all but the lifecycle; resolves to what could not be, each with its reason. */
export async function restoreSettings(
  ctx: Context,
  client: Client,
  { captured, target }: Wanted,
  names: readonly BucketSetting[],
): Promise<string[]> {
  const missing: string[] = [];
  for (const name of BUCKET_SETTINGS) {
    const text = captured.settings[name];
    if (!names.includes(name) || text === undefined) continue;
    const reason = await restoreSetting(ctx, client, target, name, renamedIn(name, text, captured.name, target));
    if (reason !== null) missing.push(`the ${name} of bucket ${target}: ${reason}`);
  }
  return missing;
}

/** Null when it was set; else why it could not be. */
export async function restoreSetting(
  ctx: Context,
  client: Client,
  bucket: string,
  name: BucketSetting,
  text: string,
): Promise<string | null> {
  try {
    if ((await settingOf(ctx, client, bucket, name)) !== text) await putSetting(ctx, client, bucket, name, text);
    return null;
  } catch (error) {
    if (!isFailure(error) || ['unreachable', 'timeout', 'interrupted'].includes(error.code)) throw error;
    return messageOf(error);
  }
}

type Doomed = Pick<Listed, 'key' | 'version'>;

/** However many. Resolves to those that are still there, each with why. */
export async function deleteAll(
  ctx: Context,
  client: Client,
  bucket: string,
  doomed: readonly Doomed[],
): Promise<string[]> {
  const left: string[] = [];
  for (let at = 0; at < doomed.length; at += DELETED_TOGETHER) {
    left.push(...(await deleteBatch(ctx, client, bucket, doomed.slice(at, at + DELETED_TOGETHER))));
  }
  return left;
}

async function deleteBatch(ctx: Context, client: Client, bucket: string, doomed: readonly Doomed[]): Promise<string[]> {
  const what = `deleting ${doomed.length} objects of ${bucket}`;
  const objects = doomed.map(({ key, version }) => {
    const id = version === null ? '' : `<VersionId>${escapeXml(version)}</VersionId>`;
    return `<Object><Key>${escapeXml(key)}</Key>${id}</Object>`;
  });
  const plain = doomed.every(({ key }) => key.isWellFormed() && !/[^\t\n\r\P{Cc}]/u.test(key));
  if (!plain) return (await Promise.all(doomed.map((each) => deleteOne(ctx, client, bucket, each)))).flat();
  const body = Buffer.from(`<Delete><Quiet>true</Quiet>${objects.join('')}</Delete>`);
  const headers = {
    'content-md5': createHash('md5').update(body).digest('base64'),
    'content-type': 'application/xml',
  };
  const request = { method: 'POST', bucket, query: { delete: '' }, headers, body } as const;
  const root = await askXml(ctx, client, what, request, 'DeleteResult');
  const refused = new Set(childrenOf(root, 'Error').map((error) => textIn(error, 'Key')));
  // A batch may say yes and mean no: each that it names is tried by itself.
  const again = doomed.filter(({ key }) => refused.has(key));
  return (await Promise.all(again.map((each) => deleteOne(ctx, client, bucket, each)))).flat();
}

async function deleteOne(ctx: Context, client: Client, bucket: string, { key, version }: Doomed): Promise<string[]> {
  const query = version === null ? {} : { query: { versionId: version } };
  try {
    await client.send(ctx, `deleting ${bucket}/${key}`, { method: 'DELETE', bucket, key, ...query });
    return [];
  } catch (error) {
    if (isFailure(error, 'missing')) return [];
    if (!isFailure(error, 'denied') && !isFailure(error, 'query-failed')) throw error;
    return [`${bucket}/${key} could not be deleted: ${messageOf(error)}`];
  }
}

/** What a restore would meet, in words; null when nothing. */
async function dataIn(ctx: Context, client: Client, wanted: Wanted): Promise<string | null> {
  const { captured, target, key, prefix } = wanted;
  if (!(await bucketExists(ctx, client, target))) return null;
  const scope = { bucket: target, prefix, exclude: captured.exclude, versions: false };
  if (!key) {
    if (await firstIn(ctx, client, scope)) return 'objects';
    if (!captured.versions) return null;
    const version = await firstIn(ctx, client, { ...scope, versions: true }).catch(unlessUnknown);
    return version ? 'versions of objects' : null;
  }
  for await (const page of listed(ctx, client, scope)) {
    const met = page.find((each) => key(each.key));
    if (met) return `an object ${JSON.stringify(met.key)}`;
  }
  return null;
}

/** Nothing where the server knows no versions. */
export async function* allVersions(
  ctx: Context,
  client: Client,
  scope: Omit<Scope, 'versions'>,
): AsyncIterable<readonly Listed[]> {
  try {
    yield* listed(ctx, client, { ...scope, versions: true });
  } catch (error) {
    if (!isUnknownToServer(error)) throw error;
  }
}

function unlessUnknown(error: unknown): undefined {
  if (!isUnknownToServer(error)) throw error;
  return undefined;
}

/** Policies name the bucket that they are about. */
export function renamedIn(name: BucketSetting, text: string, from: string, to: string): string {
  if (name !== 'policy' || from === to) return text;
  return text.replaceAll(new RegExp(`(arn:aws:s3:::)${from.replaceAll('.', '\\.')}(?=["/])`, 'g'), `$1${to}`);
}
