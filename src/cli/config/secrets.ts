// '${env:NAME}', '${file:/path}', '${exec:command}', '${vault:path#field}' and '${aws-secrets:name#field}' within
// strings of the configuration.

import { readFile } from 'node:fs/promises';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { nearest, PLACEHOLDER } from '../../core/settings.ts';

const SECRET_BYTES_MAX = 64 * 1024;
const EXEC_DEADLINE_MS = 30_000;
/** Without the first, Vault is looked for on this machine. */
const VAULT_VARIABLES = ['VAULT_ADDR', 'VAULT_TOKEN'];

type Resolve = (ctx: Context, argument: string) => Promise<string>;
const RESOLVERS: Readonly<Record<string, Resolve>> = {
  env: fromEnv,
  file: fromFile,
  exec: fromExec,
  'aws-secrets': async (ctx, argument) => (await import('./aws-secrets.ts')).fromAwsSecrets(ctx, argument),
  vault: async (ctx, argument) => (await import('./vault.ts')).fromVault(ctx, argument),
};

/** Whether secrets of `value` are had from a command or another service, not only from variables and files. */
export function asksOthers(value: unknown): boolean {
  return /\$\{(?!env:|file:)[a-z-]+:/.test(JSON.stringify(value));
}

/** The variables that secrets of `value` are had from, or that a service is reached with which has them. */
export function variablesIn(value: unknown): readonly string[] {
  const found = JSON.stringify(value).matchAll(PLACEHOLDER);
  return [...found].flatMap(([, scheme, argument = '']) => {
    if (scheme === 'vault') return VAULT_VARIABLES;
    return scheme === 'env' ? [argument] : [];
  });
}

/** Whether there is such a thing as each placeholder names; nothing is resolved. */
export function checkPlaceholders(value: unknown): void {
  for (const [, scheme = ''] of (JSON.stringify(value) ?? '').matchAll(PLACEHOLDER)) resolverOf(scheme);
}

/** A copy of `value` with every placeholder replaced. `path` names where it stands, for messages. */
export async function resolveSecrets(ctx: Context, value: unknown, path: string): Promise<unknown> {
  if (typeof value === 'string') return await resolveText(ctx, value, path);
  if (Array.isArray(value)) {
    return await Promise.all(value.map((each, index) => resolveSecrets(ctx, each, `${path}[${index}]`)));
  }
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(
    async ([key, each]) => [key, await resolveSecrets(ctx, each, `${path}.${key}`)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

async function resolveText(ctx: Context, text: string, path: string): Promise<string> {
  let result = '';
  let end = 0;
  for (const match of text.matchAll(PLACEHOLDER)) {
    const [whole, scheme = '', argument = ''] = match;
    try {
      result += text.slice(end, match.index) + (await resolverOf(scheme)(ctx, argument));
    } catch (cause) {
      const { code, hint } = isFailure(cause) ? cause : { code: 'settings-invalid' as const, hint: undefined };
      throw new Failure(code, `${path}: ${messageOf(cause)}`, { cause, hint });
    }
    end = match.index + whole.length;
  }
  return result + text.slice(end);
}

function resolverOf(scheme: string): Resolve {
  const resolve = Object.hasOwn(RESOLVERS, scheme) ? RESOLVERS[scheme] : undefined;
  if (resolve) return resolve;
  const near = nearest(scheme, Object.keys(RESOLVERS));
  const known = Object.keys(RESOLVERS).join(', ');
  throw new Failure('settings-invalid', `\${${scheme}:…} is not known; known: ${known}`, {
    hint: near ? `did you mean \${${near}:…}?` : undefined,
  });
}

async function fromEnv(ctx: Context, name: string): Promise<string> {
  const value = ctx.env[name];
  if (value === undefined) {
    const near = nearest(name, Object.keys(ctx.env));
    throw new Failure('settings-invalid', `the variable ${name} is not set`, {
      hint: near ? `did you mean ${near}?` : `export ${name}=…`,
    });
  }
  return value;
}

async function fromFile(_ctx: Context, path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Failure('settings-invalid', `the file ${path} can't be read`, { cause });
  });
  if (text.length > SECRET_BYTES_MAX)
    throw new Failure('settings-invalid', `the file ${path} is too long for a secret`);
  return text.replace(/\r?\n$/, '');
}

async function fromExec(ctx: Context, command: string): Promise<string> {
  const { run } = await import('../../core/process.ts');
  const text = await run(ctx, { program: 'sh', args: ['-c', command] }, { deadlineMs: EXEC_DEADLINE_MS });
  return text.replace(/\r?\n$/, '');
}
