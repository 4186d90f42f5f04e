// What a capture may have to ask of objects: one request for each right, which tells whether the key has it.

import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Client } from './client.ts';
import { isUnknownToServer } from './failures.ts';
import { firstIn } from './listing.ts';
import type { Listed } from './pages.ts';
import type { Scope } from './settings.ts';

/** Objects are asked for rights before whether they are there: any name will do where there is none. */
const NOBODY = 'lifeboat-doctor-asks-for-this';

export interface ObjectRight {
  readonly right: string;
  /** Without it a server leaves out what it is about, and says nothing. */
  readonly silent: boolean;
  readonly query: Readonly<Record<string, string>> | null;
}

/** Those that these settings need. `lockable`: objects of the bucket may be locked. */
export function objectRights(client: Client, { versions }: Scope, lockable: boolean): ObjectRight[] {
  const { tags, acl } = client.settings;
  const of = versions ? 'Version' : '';
  const rights: ObjectRight[] = [{ right: `s3:GetObject${of}`, silent: false, query: null }];
  if (tags !== 'never') rights.push({ right: `s3:GetObject${of}Tagging`, silent: true, query: { tagging: '' } });
  if (lockable) rights.push({ right: 's3:GetObjectRetention', silent: true, query: { retention: '' } });
  if (lockable) rights.push({ right: 's3:GetObjectLegalHold', silent: true, query: { 'legal-hold': '' } });
  if (acl) rights.push({ right: `s3:GetObject${of}Acl`, silent: false, query: { acl: '' } });
  return rights;
}

/** 'denied' when the key lacks a right without which a capture would lack something and not know. */
export async function needSilentRights(ctx: Context, client: Client, scope: Scope, lockable: boolean): Promise<void> {
  const rights = objectRights(client, scope, lockable).filter(({ silent }) => silent);
  if (rights.length === 0) return;
  const listed = await firstIn(ctx, client, scope);
  for (const right of rights) {
    const refused = await refusalOf(ctx, client, scope, { listed, right });
    if (!refused) continue;
    const hint = `allow ${right.right} on arn:aws:s3:::${scope.bucket}/*, or set tags: never where it is about tags`;
    throw new Failure('denied', refused.message, { cause: refused, hint });
  }
}

/** Why the key lacks it; null when it has it, or when this server knows no such thing. */
export async function refusalOf(
  ctx: Context,
  client: Client,
  { bucket, prefix }: Scope,
  { listed, right: { right, query } }: { readonly listed: Listed | undefined; readonly right: ObjectRight },
): Promise<Failure | null> {
  const key = listed && !listed.marker ? listed.key : prefix + NOBODY;
  const version = listed && !listed.marker && listed.version !== null ? { versionId: listed.version } : {};
  const request = { method: query ? 'GET' : 'HEAD', bucket, key, query: { ...query, ...version } } as const;
  try {
    await client.send(ctx, `asking for ${right} on ${bucket}/${key}`, request);
    return null;
  } catch (error) {
    if (isFailure(error, 'denied')) return error;
    // There is no such object, or it has no such thing.
    if (isFailure(error, 'missing') || isFailure(error, 'query-failed') || isUnknownToServer(error)) return null;
    throw error;
  }
}
