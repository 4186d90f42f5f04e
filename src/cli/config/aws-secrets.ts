// Secrets of AWS Secrets Manager: '${aws-secrets:prod/shop}' is a secret's text, '${aws-secrets:prod/shop#password}'
// one field of a text that is JSON, as the rotation of database passwords writes it. Names and ARNs are taken.

import type { SecretsManagerClientConfig } from '@aws-sdk/client-secrets-manager';
import { credentialsOf } from '../../buckets/s3/credentials.ts';
import { interruption } from '../../core/context.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';

const CONNECT_MS = 10_000;
const DEADLINE_MS = 30_000;
/** By the names of the service's errors. */
const REFUSED = ['AccessDeniedException', 'UnrecognizedClientException', 'InvalidSignatureException'];

export async function fromAwsSecrets(ctx: Context, argument: string): Promise<string> {
  const [, id, field] = /^([^#]+)(?:#([^#]+))?$/.exec(argument) ?? [];
  if (id === undefined) {
    throw new Failure(
      'settings-invalid',
      `aws-secrets:${argument} is not NAME or NAME#FIELD, such as prod/shop#password`,
    );
  }
  const text = await ask(ctx, id);
  const secret = field === undefined ? text : fieldIn(text, field);
  if (typeof secret === 'string') return secret;
  const what = field === undefined ? '' : ` in the field ${field}`;
  throw new Failure('settings-invalid', `aws secrets manager has no text${what} of ${id}`);
}

async function ask(ctx: Context, id: string): Promise<string | undefined> {
  const { GetSecretValueCommand, SecretsManagerClient } = await import('@aws-sdk/client-secrets-manager');
  const client = new SecretsManagerClient(await configOf(ctx, id));
  try {
    const abortSignal = AbortSignal.any([ctx.signal, AbortSignal.timeout(DEADLINE_MS)]);
    return (await client.send(new GetSecretValueCommand({ SecretId: id }), { abortSignal })).SecretString;
  } catch (cause) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    throw refusal(id, cause);
  } finally {
    client.destroy();
  }
}

async function configOf(ctx: Context, id: string): Promise<SecretsManagerClientConfig> {
  const { env } = ctx;
  const [, named] = /^arn:[^:]*:secretsmanager:([^:]+):/.exec(id) ?? [];
  const endpoint = env.AWS_ENDPOINT_URL_SECRETS_MANAGER ?? env.AWS_ENDPOINT_URL;
  return {
    ...(endpoint ? { endpoint } : {}),
    region: named ?? env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? 'us-east-1',
    credentials: await credentialsOf(ctx, {}),
    requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: DEADLINE_MS },
  };
}

function fieldIn(text: string | undefined, field: string): unknown {
  try {
    const json: unknown = JSON.parse(text ?? '');
    return Object.entries(json ?? {}).find(([name]) => name === field)?.[1];
  } catch {
    return undefined; // no JSON, so that it has no fields
  }
}

function refusal(id: string, cause: unknown): Failure {
  const name = cause instanceof Error ? cause.name : '';
  if (name === 'ResourceNotFoundException') {
    const hint = 'check AWS_REGION, and the name as aws secretsmanager list-secrets shows it';
    return new Failure('settings-invalid', `aws secrets manager has no secret ${id}`, { cause, hint });
  }
  if (REFUSED.includes(name)) {
    const hint = 'its policy must allow secretsmanager:GetSecretValue, and kms:Decrypt for a key of your own';
    return new Failure('denied', `aws secrets manager refuses ${id}: ${name}`, { cause, hint });
  }
  const hint = 'check AWS_REGION, the credentials and the network';
  return new Failure('unreachable', `aws secrets manager does not answer for ${id}: ${name}`, { cause, hint });
}
