// Whose rights requests are signed with: the settings say, else it is found where AWS tools look, in their order.

import { awsChain } from '../../core/aws.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Identity, Settings } from './settings.ts';
import { type Signer, signer } from './sigv4.ts';

/** Keys that pass away are renewed so long before. */
const RENEW_MS = 5 * 60_000;

interface Found {
  readonly identity: Identity;
  readonly untilMs: number;
}

/** The signer for a request that is made now; at once where nothing must be fetched. */
export type Signers = (nowMs: number) => Signer | Promise<Signer>;

export function signers(ctx: Context, settings: Settings, region: string): Signers {
  const known = settings.identity ?? (settings.profile === null ? identityIn(ctx.env) : null);
  if (known) {
    const sign = signer(known, region);
    return () => sign;
  }
  let held: { readonly sign: Signer; readonly untilMs: number } | null = null;
  let fetching: Promise<Signer> | null = null;
  return (nowMs) => {
    if (held && nowMs < held.untilMs - RENEW_MS) return held.sign;
    fetching ??= lookedUp(ctx, settings)
      .then(({ identity, untilMs }) => {
        held = { sign: signer(identity, region), untilMs };
        return held.sign;
      })
      .finally(() => {
        fetching = null;
      });
    return fetching;
  };
}

function identityIn(env: Context['env']): Identity | null {
  const { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey, AWS_SESSION_TOKEN: sessionToken } = env;
  if (!accessKey || !secretKey || env.AWS_PROFILE) return null;
  return { accessKey, secretKey, ...(sessionToken ? { sessionToken } : {}) };
}

async function lookedUp({ env }: Context, settings: Settings): Promise<Found> {
  try {
    const given = await (await awsChain(env, settings.profile ?? env.AWS_PROFILE ?? 'default'))();
    const { accessKeyId: accessKey, secretAccessKey: secretKey, sessionToken, expiration } = given;
    const identity = { accessKey, secretKey, ...(sessionToken ? { sessionToken } : {}) };
    return { identity, untilMs: expiration?.getTime() ?? Number.POSITIVE_INFINITY };
  } catch (cause) {
    throw new Failure('denied', `s3: there is no key to sign requests with: ${messageOf(cause)}`, {
      cause,
      hint: 'set access_key and secret_key, profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
    });
  }
}
