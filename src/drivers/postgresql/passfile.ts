// The password file of libpq: host:port:database:user:password, '*' for anything, '\' before ':' and '\'.

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Server } from './settings.ts';

/** The password to use: the settings', the environment's, the password file's; null when nobody has one. */
export async function passwordFor(ctx: Context, server: Server, database: string): Promise<string | null> {
  return server.password ?? ctx.env.PGPASSWORD ?? (await fromFile(ctx, server, database));
}

async function fromFile(ctx: Context, server: Server, database: string): Promise<string | null> {
  const path = ctx.env.PGPASSFILE ?? (ctx.env.HOME === undefined ? null : join(ctx.env.HOME, '.pgpass'));
  if (path === null) return null;
  let text: string;
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new Failure('denied', `${path} is not used: others can read it`, { hint: `chmod 600 ${path}` });
    }
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
  return passwordIn(text, [server.host, String(server.port), database, server.user]);
}

/** The password of the first line that fits (host, port, database, user). */
export function passwordIn(text: string, wanted: readonly string[]): string | null {
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    const fields = [...line.matchAll(/((?:\\.|[^:\\])*)(?::|$)/g)].map(([, field = '']) =>
      field.replace(/\\(.)/g, '$1'),
    );
    const password = fields[wanted.length];
    if (password !== undefined && wanted.every((each, i) => fields[i] === '*' || fields[i] === each)) return password;
  }
  return null;
}
