// The four rights that a store needs, each tried by itself with one small object, which also tells the store's time.

import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context, Finding } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { clockFinding, failed } from './patient.ts';

const KEY = 'right';

interface Tried {
  readonly error: unknown;
}

/** `bucket` is a folder of its own, which is empty afterwards if it may be. */
export async function rightsFindings(ctx: Context, bucket: Bucket): Promise<readonly Finding[]> {
  const tried = async (work: () => Promise<unknown>): Promise<Tried> => {
    try {
      await work();
      return { error: null };
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      return { error };
    }
  };
  const beforeMs = ctx.now().getTime();
  const put = await tried(() => bucket.put(ctx, KEY, Buffer.from('x')));
  const betweenMs = (beforeMs + ctx.now().getTime()) / 2;
  const get = await tried(() => readAll(bucket.get(ctx, KEY)));
  const list = await tried(() => Array.fromAsync(bucket.list(ctx, '')));
  let skewMs: number | null = null;
  const head = await tried(async () => {
    skewMs = Math.round((await bucket.head(ctx, KEY)).modifiedAt.getTime() - betweenMs);
  });
  const gone = await tried(() => bucket.delete(ctx, KEY));
  // What could not be written is missing; where nothing may be listed either, that looks forbidden.
  const read = put.error !== null && (isFailure(get.error, 'missing') || list.error !== null) ? null : get;
  const allow = (action: string): string | undefined =>
    bucket.url.startsWith('s3://') ? `allow ${action}` : undefined;
  return [
    rightFinding('it can be written to', put, allow('s3:PutObject')),
    read ? rightFinding('it can be read', read, allow('s3:GetObject')) : notTried('it can be read'),
    rightFinding('it can be listed', list, allow('s3:ListBucket')),
    rightFinding('what is not needed can be deleted', gone, allow('s3:DeleteObject')),
    clockFinding(head.error === null ? skewMs : null),
  ];
}

function rightFinding(check: string, { error }: Tried, allow: string | undefined): Finding {
  if (error === null) return { check, verdict: 'pass', detail: 'yes' };
  const finding = failed(check, error);
  return allow !== undefined && isFailure(error, 'denied') ? { ...finding, hint: allow } : finding;
}

function notTried(check: string): Finding {
  return { check, verdict: 'unknown', detail: 'nothing could be written that could be read' };
}
