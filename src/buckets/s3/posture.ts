// What else was decided about a bucket, and what it does to our objects. None of it is needed for backups, so that a
// right that is missing for one of these reads leaves it unknown.

import type { LifecycleRule, S3 } from '@aws-sdk/client-s3';
import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Finding } from '../../core/model.ts';
import { parseSettings } from '../../core/settings.ts';
import { type Connection, connect } from './connection.ts';
import { isArchivedClass } from './objects.ts';
import { s3BucketSettings } from './settings.ts';

type Look = (s3: S3, where: { Bucket: string }, options: { abortSignal: AbortSignal }) => Promise<readonly Finding[]>;

/** Changes nothing. */
export async function s3Posture(ctx: Context, url: string, settings: unknown): Promise<readonly Finding[]> {
  const connection = connect(url, parseSettings(s3BucketSettings, settings, url));
  try {
    const findings: Finding[] = [];
    findings.push(...(await look(ctx, connection, 'versioning', 's3:GetBucketVersioning', 'off', versioning)));
    findings.push(...(await look(ctx, connection, 'encryption', 's3:GetEncryptionConfiguration', 'off', encryption)));
    findings.push(
      ...(await look(ctx, connection, 'object lock', 's3:GetBucketObjectLockConfiguration', 'off', objectLock)),
    );
    const none = 'no rule deletes or archives anything';
    const lifecycle: Look = async (s3, where, options) => {
      const { Rules = [] } = await s3.getBucketLifecycleConfiguration(where, options);
      const found = Rules.flatMap((rule) => lifecycleFindings(rule, connection.prefix));
      const left = `${Rules.length} rules, of which none deletes or archives what lies here`;
      return found.length > 0 ? found : [{ check: 'lifecycle', verdict: 'pass', detail: left }];
    };
    findings.push(...(await look(ctx, connection, 'lifecycle', 's3:GetLifecycleConfiguration', none, lifecycle)));
    return findings;
  } finally {
    await connection.close();
  }
}

/** `none` is what it means that nothing was decided, or that the server does not know such a thing. */
async function look(
  ctx: Context,
  connection: Connection,
  check: string,
  action: string,
  none: string,
  work: Look,
): Promise<readonly Finding[]> {
  try {
    return await connection.call(ctx, `looking at ${check}`, (s3, options) =>
      work(s3, { Bucket: connection.bucket }, options),
    );
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    if (isFailure(error, 'missing')) return [{ check, verdict: 'pass', detail: none }];
    const name = isFailure(error) && error.cause instanceof Error ? error.cause.name : '';
    if (name === 'NotImplemented') return [{ check, verdict: 'pass', detail: 'unknown to this server' }];
    const hint = isFailure(error, 'denied') ? { hint: `to see it, allow ${action}; no backup needs it` } : {};
    return [{ check, verdict: 'unknown', detail: messageOf(error), ...hint }];
  }
}

const versioning: Look = async (s3, where, options) => {
  const { Status = 'off' } = await s3.getBucketVersioning(where, options);
  return [{ check: 'versioning', verdict: 'pass', detail: Status.toLowerCase() }];
};

const encryption: Look = async (s3, where, options) => {
  const { ServerSideEncryptionConfiguration: found } = await s3.getBucketEncryption(where, options);
  const { SSEAlgorithm: algorithm = 'off', KMSMasterKeyID: key } =
    found?.Rules?.[0]?.ApplyServerSideEncryptionByDefault ?? {};
  const detail = key === undefined ? algorithm : `${algorithm} with key ${key}`;
  return [{ check: 'encryption', verdict: 'pass', detail }];
};

const objectLock: Look = async (s3, where, options) => {
  const { ObjectLockConfiguration: found } = await s3.getObjectLockConfiguration(where, options);
  const { Mode, Days, Years } = found?.Rule?.DefaultRetention ?? {};
  const time = Days === undefined ? `${Years} years` : `${Days} days`;
  const detail = Mode === undefined ? 'on, without a default retention' : `${Mode.toLowerCase()} for ${time}`;
  const enabled = found?.ObjectLockEnabled === 'Enabled';
  return [{ check: 'object lock', verdict: 'pass', detail: enabled ? detail : 'off' }];
};

/** Of a rule that is on and may meet objects below `prefix`; ours have no tags. */
function lifecycleFindings(rule: LifecycleRule, prefix: string): readonly Finding[] {
  const { ID = 'without a name', Status, Filter, Expiration, Transitions = [] } = rule;
  const below = Filter?.Prefix ?? Filter?.And?.Prefix ?? rule.Prefix ?? '';
  const isMeant = below.startsWith(prefix) || prefix.startsWith(below);
  if (Status !== 'Enabled' || !isMeant || Filter?.Tag || Filter?.And?.Tags?.length) return [];
  const where = below === '' ? 'everything' : `what lies below ${below}`;
  const findings: Finding[] = [];
  if (Expiration?.Days !== undefined || Expiration?.Date !== undefined) {
    findings.push({
      check: 'lifecycle',
      verdict: 'fail',
      detail: `rule ${ID} deletes ${where} ${timeOf(Expiration)}, also what points still need`,
      hint: 'leave this store out of the rule: lifeboat prune removes what no point needs',
    });
  }
  for (const transition of Transitions) {
    if (!isArchivedClass(transition.StorageClass)) continue;
    findings.push({
      check: 'lifecycle',
      verdict: 'unknown',
      detail: `rule ${ID} archives ${where} in ${transition.StorageClass} ${timeOf(transition)}: a restore then waits`,
      hint: 'keep it if hours are fast enough (lifeboat restore --thaw), else use GLACIER_IR',
    });
  }
  return findings;
}

function timeOf({ Days, Date: date }: { Days?: number | undefined; Date?: Date | undefined }): string {
  return Days === undefined ? `on ${date?.toISOString().slice(0, 10)}` : `after ${Days} days`;
}
