// Whose rights requests are signed with: the settings say, else it is found where AWS tools look, in their order.

import { join } from 'node:path';
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
    const given = await (await chainOf(env, settings.profile ?? env.AWS_PROFILE ?? 'default'))();
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

/** Files, a token, the container, the machine. */
async function chainOf(env: Context['env'], profile: string) {
  const sdk = await import('@aws-sdk/credential-providers'); // for those who need it
  const home = env.HOME ?? '/';
  const files = {
    profile,
    filepath: env.AWS_SHARED_CREDENTIALS_FILE ?? join(home, '.aws', 'credentials'),
    configFilepath: env.AWS_CONFIG_FILE ?? join(home, '.aws', 'config'),
  };
  const links: Parameters<typeof sdk.createCredentialChain> = [sdk.fromIni(files), sdk.fromProcess(files)];
  const { AWS_WEB_IDENTITY_TOKEN_FILE: webIdentityTokenFile, AWS_ROLE_ARN: roleArn } = env;
  if (webIdentityTokenFile && roleArn) links.push(sdk.fromTokenFile({ webIdentityTokenFile, roleArn }));
  const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: relative, AWS_CONTAINER_CREDENTIALS_FULL_URI: full } = env;
  const { AWS_CONTAINER_AUTHORIZATION_TOKEN: token, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: tokenFile } = env;
  if (relative || full) {
    links.push(
      sdk.fromHttp({
        ...(relative ? { awsContainerCredentialsRelativeUri: relative } : {}),
        ...(full && !relative ? { awsContainerCredentialsFullUri: full } : {}),
        ...(token ? { awsContainerAuthorizationToken: token } : {}),
        ...(tokenFile ? { awsContainerAuthorizationTokenFile: tokenFile } : {}),
      }),
    );
  } else if (!env.AWS_EC2_METADATA_DISABLED || env.AWS_EC2_METADATA_DISABLED === 'false') {
    links.push(sdk.fromInstanceMetadata());
  }
  return sdk.createCredentialChain(...links);
}
