// What doctor wants to know: is everything that a capture asks for allowed? Changes nothing.

import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { scopesOf, settingOf } from './buckets.ts';
import { versionOf } from './capture.ts';
import { type Client, openClient } from './client.ts';
import { isUnknownToServer } from './failures.ts';
import { tagsOf } from './objects.ts';
import { firstOf, firstVersionOf, type Listed } from './pages.ts';
import type { Scope, Settings } from './settings.ts';

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  await using client = openClient(ctx, settings);
  const scopes = await scopesOf(ctx, client);
  const findings: Finding[] = [];
  const holding: string[] = [];
  for (const scope of scopes) {
    const first = await listingOf(ctx, client, scope, findings);
    if (first) holding.push(scope.bucket);
    if (first) await objectFindings(ctx, client, scope, first, findings);
    await settingFindings(ctx, client, scope, findings);
  }
  const held = holding.length === 1 ? `objects in bucket ${holding[0]}` : `objects in buckets ${holding.join(', ')}`;
  return {
    version: versionOf(client),
    identity: client.where,
    bytes: null,
    holdsData: holding.length === 0 ? null : held,
    clockSkewMs: client.clockSkewMs(),
    findings,
  };
}

async function listingOf(ctx: Context, client: Client, scope: Scope, findings: Finding[]): Promise<Listed | undefined> {
  const { bucket, versions } = scope;
  const right = versions ? 's3:ListBucketVersions' : 's3:ListBucket';
  const check = `bucket ${bucket} can be listed (${right})`;
  try {
    const first = versions ? await firstVersionOf(ctx, client, scope) : await firstOf(ctx, client, scope);
    findings.push({ check, verdict: 'pass', detail: first ? 'it holds objects' : 'it is empty' });
    return first;
  } catch (error) {
    // A bucket that is yet to be made by a restore is empty.
    findings.push(refusalOf(check, error, `allow ${right} on the bucket`));
    return undefined;
  }
}

async function objectFindings(
  ctx: Context,
  client: Client,
  { bucket }: Scope,
  listed: Listed,
  findings: Finding[],
): Promise<void> {
  if (listed.marker) return;
  const { key, version } = listed;
  const query = version === null ? {} : { query: { versionId: version } };
  const asks = [
    {
      right: version === null ? 's3:GetObject' : 's3:GetObjectVersion',
      ask: () => client.send(ctx, `reading ${bucket}/${key}`, { method: 'HEAD', bucket, key, ...query }),
    },
    {
      right: version === null ? 's3:GetObjectTagging' : 's3:GetObjectVersionTagging',
      ask: () => tagsOf(ctx, client, { bucket, listed }),
    },
  ];
  for (const { right, ask } of client.settings.tags === 'never' ? asks.slice(0, 1) : asks) {
    const check = `objects of bucket ${bucket} can be read (${right})`;
    try {
      await ask();
      findings.push({ check, verdict: 'pass', detail: 'tried on one of them' });
    } catch (error) {
      findings.push(refusalOf(check, error, `allow ${right} on the objects`));
    }
  }
}

async function settingFindings(ctx: Context, client: Client, { bucket }: Scope, findings: Finding[]): Promise<void> {
  const check = `the settings of bucket ${bucket} can be read (s3:GetBucketVersioning and the like)`;
  try {
    await settingOf(ctx, client, bucket, 'versioning');
    findings.push({ check, verdict: 'pass', detail: 'tried on its versioning' });
  } catch (error) {
    if (!isUnknownToServer(error)) findings.push(refusalOf(check, error, 'allow the rights of the page on s3'));
  }
}

function refusalOf(check: string, error: unknown, hint: string): Finding {
  if (!isFailure(error) || ['unreachable', 'timeout', 'interrupted'].includes(error.code)) throw error;
  return {
    check,
    verdict: 'fail',
    detail: messageOf(error),
    hint: error.code === 'denied' ? hint : (error.hint ?? hint),
  };
}
