// The variables that the old scripts read, from the environment and from a backup.env beside them.

import { readFile } from 'node:fs/promises';
import { Failure, systemCode } from '../../core/errors.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

const ENV_FILE_BYTES_MAX = 1024 * 1024;

/** What is exported beats what the file says: who exports the staging host must never hit production. */
export async function withEnvFile(env: Variables, file: string | undefined): Promise<Variables> {
  if (file === undefined) return env;
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return env; // the variables may all be exported
    throw new Failure('settings-invalid', `${file} can't be read (${systemCode(cause)})`, { cause });
  }
  if (text.length > ENV_FILE_BYTES_MAX) throw new Failure('settings-invalid', `${file} is too long for variables`);
  return { ...parseEnvFile(text, file), ...env };
}

/**
 * NAME=value lines as a shell reads them, but nothing is run: '$' is refused where a shell would put something else.
 */
export function parseEnvFile(text: string, file: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [at, line] of text.split('\n').entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const [, name, value] = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(trimmed) ?? [];
    const parsed = value === undefined ? null : unquoted(value);
    if (name === undefined || parsed === null) {
      throw new Failure('settings-invalid', `${file}:${at + 1}: no NAME=value that can be read without a shell`, {
        hint: "write values with odd characters in single quotes: PASSWORD='…'",
      });
    }
    variables[name] = parsed;
  }
  return variables;
}

/** Null for what only a shell could understand. */
function unquoted(value: string): string | null {
  const [, single] = /^'([^']*)'\s*(?:#.*)?$/.exec(value) ?? [];
  if (single !== undefined) return single;
  const [, double] = /^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$/.exec(value) ?? [];
  if (double !== undefined) return /(?<!\\)[$`]/.test(double) ? null : double.replace(/\\(["\\$`])/g, '$1');
  const [, bare] = /^([^\s'"`$\\;&|<>()#][^\s'"`$\\;&|<>()]*)?\s*(?:\s#.*)?$/.exec(value) ?? [];
  return bare ?? (/^\s*(#.*)?$/.test(value) ? '' : null);
}

/** The first that is set. An empty variable counts as none, as `${NAME:-default}` has it. */
export function nameGiven(env: Variables, ...names: readonly string[]): string | undefined {
  return names.find((each) => env[each] !== undefined && env[each] !== '');
}

export function given(env: Variables, ...names: readonly string[]): string | undefined {
  const name = nameGiven(env, ...names);
  return name === undefined ? undefined : env[name];
}

/** Names with commas or blanks between them. */
export function listed(env: Variables, ...names: readonly string[]): readonly string[] | undefined {
  const found = given(env, ...names)
    ?.split(/[\s,]+/)
    .filter((each) => each !== '');
  return found && found.length > 0 ? found : undefined;
}

export function yesOrNo(env: Variables, name: string): boolean | undefined {
  const value = given(env, name)?.toLowerCase();
  if (value === undefined) return undefined;
  if (['true', 'yes', '1', 'on'].includes(value)) return true;
  if (['false', 'no', '0', 'off'].includes(value)) return false;
  throw new Failure('settings-invalid', `the variable ${name} is neither true nor false`);
}

export function needed(env: Variables, name: string): string {
  const value = given(env, name);
  if (value === undefined) {
    throw new Failure('settings-invalid', `the variable ${name} is not set`, { hint: `export ${name}=…` });
  }
  return value;
}

export function wholeNumber(env: Variables, name: string): number | undefined {
  const value = given(env, name);
  if (value === undefined) return undefined;
  if (!/^\d{1,9}$/.test(value)) throw new Failure('settings-invalid', `the variable ${name} is no whole number`);
  return Number(value);
}
