// What doctor wants to know: is everything that a capture asks for allowed? Changes nothing.

import { type Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { BUCKET_SETTINGS, type BucketSetting, scopesOf, settingOf } from './buckets.ts';
import { versionOf } from './capture.ts';
import { type Client, openClient } from './client.ts';
import { isUnknownToServer } from './failures.ts';
import { firstIn } from './listing.ts';
import type { Listed } from './pages.ts';
import { objectRights, refusalOf } from './rights.ts';
import type { Scope, Settings } from './settings.ts';

const SETTING_RIGHTS: Readonly<Record<BucketSetting, string>> = {
  encryption: 's3:GetEncryptionConfiguration',
  versioning: 's3:GetBucketVersioning',
  tagging: 's3:GetBucketTagging',
  cors: 's3:GetBucketCORS',
  policy: 's3:GetBucketPolicy',
  'object-lock': 's3:GetBucketObjectLockConfiguration',
  lifecycle: 's3:GetLifecycleConfiguration',
};

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  await using client = openClient(ctx, settings);
  const findings: Finding[] = [];
  const [holding, unseen]: [string[], string[]] = [[], []];
  for (const scope of await scopesFound(ctx, client, findings)) {
    const list = await listingOf(ctx, client, scope, findings);
    if (list === 'unseen') unseen.push(scope.bucket);
    else if (list?.first) holding.push(scope.bucket);
    const lockable = await settingFindings(ctx, client, scope, findings);
    if (list && list !== 'unseen') await objectFindings(ctx, client, scope, { first: list.first, lockable }, findings);
  }
  return {
    version: versionOf(client),
    identity: client.where,
    bytes: null,
    holdsData: heldText(holding, unseen),
    clockSkewMs: client.clockSkewMs(),
    findings,
  };
}

/** A bucket that we may not look into is not taken for an empty one. */
function heldText(holding: readonly string[], unseen: readonly string[]): string | null {
  const named = (names: readonly string[]): string => `bucket${names.length === 1 ? '' : 's'} ${names.join(', ')}`;
  const told = [
    ...(holding.length === 0 ? [] : [`objects in ${named(holding)}`]),
    ...(unseen.length === 0 ? [] : [`what is in ${named(unseen)} can not be seen`]),
  ];
  return told.length === 0 ? null : told.join('; ');
}

async function scopesFound(ctx: Context, client: Client, findings: Finding[]): Promise<readonly Scope[]> {
  const check = 'all buckets can be found (s3:ListAllMyBuckets)';
  try {
    const scopes = await scopesOf(ctx, client);
    if (client.settings.scopes === null) findings.push({ check, verdict: 'pass', detail: `${scopes.length} of them` });
    return scopes;
  } catch (error) {
    findings.push(refusal(check, error, 'allow s3:ListAllMyBuckets, or name the buckets'));
    return [];
  }
}

/** Null when it is not there, 'unseen' when it can't be listed. */
async function listingOf(
  ctx: Context,
  client: Client,
  scope: Scope,
  findings: Finding[],
): Promise<{ readonly first: Listed | undefined } | 'unseen' | null> {
  const { bucket, versions } = scope;
  const right = versions ? 's3:ListBucketVersions' : 's3:ListBucket';
  const check = `bucket ${bucket} can be listed (${right})`;
  try {
    const first = await firstIn(ctx, client, scope);
    findings.push({ check, verdict: 'pass', detail: first ? 'it holds objects' : 'it is empty' });
    return { first };
  } catch (error) {
    // A bucket that is yet to be made by a restore is empty.
    findings.push(refusal(check, error, `allow ${right} on arn:aws:s3:::${bucket}`));
    return isFailure(error, 'missing') ? null : 'unseen';
  }
}

async function objectFindings(
  ctx: Context,
  client: Client,
  scope: Scope,
  { first, lockable }: { readonly first: Listed | undefined; readonly lockable: boolean },
  findings: Finding[],
): Promise<void> {
  const { bucket } = scope;
  for (const right of objectRights(client, scope, lockable)) {
    const check = `objects of bucket ${bucket} can be read (${right.right})`;
    const refused = await refusalOf(ctx, client, scope, { listed: first, right });
    if (!refused)
      findings.push({
        check,
        verdict: 'pass',
        detail: first ? 'tried on one of them' : 'tried on a name that is not there',
      });
    else findings.push(refusal(check, refused, `allow ${right.right} on arn:aws:s3:::${bucket}/*`));
  }
}

/** True when objects of the bucket may be locked. */
async function settingFindings(ctx: Context, client: Client, { bucket }: Scope, findings: Finding[]): Promise<boolean> {
  const readable: string[] = [];
  let lockable = false;
  for (const name of BUCKET_SETTINGS) {
    const right = SETTING_RIGHTS[name];
    try {
      const text = await settingOf(ctx, client, bucket, name);
      lockable ||= name === 'object-lock' && text !== null;
      readable.push(name);
    } catch (error) {
      if (isFailure(error, 'missing')) return false; // the bucket is, which was said already
      if (isUnknownToServer(error)) continue;
      const check = `the ${name} of bucket ${bucket} can be read (${right})`;
      findings.push(refusal(check, error, `allow ${right} on arn:aws:s3:::${bucket}`));
    }
  }
  const check = `the settings of bucket ${bucket} can be read`;
  if (readable.length > 0) findings.push({ check, verdict: 'pass', detail: readable.join(', ') });
  return lockable;
}

function refusal(check: string, error: unknown, hint: string): Finding {
  if (!isFailure(error) || PASSES_BY.includes(error.code)) throw error;
  const next = error.code === 'denied' && error.hint?.includes('doctor') ? hint : (error.hint ?? hint);
  return { check, verdict: 'fail', detail: messageOf(error), hint: next };
}

const PASSES_BY: readonly Failure['code'][] = ['unreachable', 'timeout', 'interrupted'];
