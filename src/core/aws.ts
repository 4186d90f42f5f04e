// Where AWS tools look for keys when nobody has named any, in their order; from `env` alone.

import { join } from 'node:path';
import type { Context } from './model.ts';

/** Keys from files, a token, the container, the machine: the first that has some. */
export async function awsChain(env: Context['env'], profile: string) {
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
