import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { awsChain } from '../../core/aws.ts';
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
  return await awsChain(env, profile ?? 'default');
}

function identity(accessKeyId: string, secretAccessKey: string, sessionToken: string | undefined): Credentials {
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}
