// Secrets of HashiCorp Vault and OpenBao: '${vault:secret/data/shop#password}' is one field of a secret of their
// key-value engine, version 2. The path is the one that `vault kv get` shows as the secret's path.

import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { interruption } from '../../core/context.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';

const ADDRESS = 'https://127.0.0.1:8200';
const DEADLINE_MS = 30_000;
const REPLY_BYTES_MAX = 1024 * 1024;
const replySchema = z.object({ data: z.object({ data: z.record(z.string(), z.unknown()) }) });

export async function fromVault(ctx: Context, argument: string): Promise<string> {
  const [, path, field] = /^([^#]+)#([^#]+)$/.exec(argument) ?? [];
  if (path === undefined || field === undefined) {
    throw new Failure('settings-invalid', `vault:${argument} is not PATH#FIELD, such as secret/data/shop#password`);
  }
  const { status, text } = await ask(ctx, path);
  if (status !== 200) throw refusal(path, status);
  const secret = secretIn(text)?.[field];
  if (typeof secret === 'string') return secret;
  throw new Failure('settings-invalid', `vault has no text in the field ${field} of ${path}`);
}

async function ask(ctx: Context, path: string): Promise<{ readonly status: number; readonly text: string }> {
  const { VAULT_ADDR: address = ADDRESS, VAULT_TOKEN: token, VAULT_NAMESPACE: namespace } = ctx.env;
  if (!token) throw new Failure('settings-invalid', 'the variable VAULT_TOKEN is not set');
  const url = `${address.replace(/\/+$/, '')}/v1/${path.split('/').filter(Boolean).map(encodeURIComponent).join('/')}`;
  const headers = { 'X-Vault-Token': token, ...(namespace ? { 'X-Vault-Namespace': namespace } : {}) };
  try {
    const signal = AbortSignal.any([ctx.signal, AbortSignal.timeout(DEADLINE_MS)]);
    // Another server is never given the token.
    const reply = await fetch(url, { headers, signal, redirect: 'error' });
    const body = reply.body ? await readAll(reply.body, REPLY_BYTES_MAX) : Buffer.alloc(0);
    return { status: reply.status, text: body.toString() };
  } catch (cause) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    if (isFailure(cause)) throw cause;
    throw new Failure('unreachable', `vault at ${address} does not answer`, { cause, hint: 'check VAULT_ADDR' });
  }
}

function secretIn(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return replySchema.safeParse(JSON.parse(text)).data?.data.data;
  } catch {
    return undefined; // no JSON, so no secret of ours
  }
}

function refusal(path: string, status: number): Failure {
  if (status === 403) {
    return new Failure('denied', `vault refuses ${path}`, { hint: 'check VAULT_TOKEN, and what its policy may read' });
  }
  if (status === 404) {
    const hint = path.split('/').includes('data') ? undefined : 'write it as MOUNT/data/NAME, as vault kv get shows it';
    return new Failure('settings-invalid', `vault has no secret ${path}`, { hint });
  }
  return new Failure('unreachable', `vault answers ${status} for ${path}`);
}
