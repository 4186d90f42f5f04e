import { join } from 'node:path';
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { S3Settings } from './settings.ts';

type Credentials = NonNullable<S3ClientConfig['credentials']>;

/** From the settings, else from where AWS tools look, in order: environment, files, token, container, machine. */
export async function credentialsOf(
  { env }: Context,
  settings: Pick<S3Settings, 'access_key' | 'secret_key' | 'session_token' | 'profile'>,
): Promise<Credentials> {
  const { access_key, secret_key, session_token } = settings;
  if ((access_key === undefined) !== (secret_key === undefined)) {
    throw new Failure('settings-invalid', 'access_key and secret_key belong together, and one of them is missing');
  }
  if (access_key !== undefined && secret_key !== undefined) return identity(access_key, secret_key, session_token);
  const profile = settings.profile ?? env.AWS_PROFILE;
  if (!profile && env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY) {
    return identity(env.AWS_ACCESS_KEY_ID, env.AWS_SECRET_ACCESS_KEY, env.AWS_SESSION_TOKEN);
  }
  return await chain(env, profile ?? 'default');
}

function identity(accessKeyId: string, secretAccessKey: string, sessionToken: string | undefined): Credentials {
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

async function chain(env: Context['env'], profile: string): Promise<Credentials> {
  const sdk = await import('@aws-sdk/credential-providers');
  const home = env.HOME ?? '/';
  const files = {
    profile,
    filepath: env.AWS_SHARED_CREDENTIALS_FILE ?? join(home, '.aws', 'credentials'),
    configFilepath: env.AWS_CONFIG_FILE ?? join(home, '.aws', 'config'),
  };
  const links: Parameters<typeof sdk.createCredentialChain> = [sdk.fromIni(files), sdk.fromProcess(files)];
  if (env.AWS_WEB_IDENTITY_TOKEN_FILE && env.AWS_ROLE_ARN) {
    const { AWS_WEB_IDENTITY_TOKEN_FILE: webIdentityTokenFile, AWS_ROLE_ARN: roleArn } = env;
    links.push(sdk.fromTokenFile({ webIdentityTokenFile, roleArn }));
  }
  const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: relative, AWS_CONTAINER_CREDENTIALS_FULL_URI: full } = env;
  if (relative || full) {
    links.push(
      sdk.fromHttp({
        ...(relative ? { awsContainerCredentialsRelativeUri: relative } : {}),
        ...(full && !relative ? { awsContainerCredentialsFullUri: full } : {}),
        ...present('awsContainerAuthorizationToken', env.AWS_CONTAINER_AUTHORIZATION_TOKEN),
        ...present('awsContainerAuthorizationTokenFile', env.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE),
      }),
    );
  } else if (!env.AWS_EC2_METADATA_DISABLED || env.AWS_EC2_METADATA_DISABLED === 'false') {
    links.push(sdk.fromInstanceMetadata());
  }
  return sdk.createCredentialChain(...links);
}

function present<K extends string>(key: K, value: string | undefined): { [P in K]?: string } {
  return value ? ({ [key]: value } as { [P in K]: string }) : {};
}
