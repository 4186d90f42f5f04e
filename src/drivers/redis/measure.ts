// Checks of the user's: a command that only reads and answers with a number.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { connect } from './connection.ts';
import { textOf } from './resp.ts';
import type { Settings } from './settings.ts';

export async function measure(ctx: Context, settings: Settings, query: string): Promise<number> {
  const words = wordsOf(query);
  const [command = ''] = words;
  await using connection = await connect(ctx, settings);
  const info = await connection.call('COMMAND', 'INFO', command);
  const [entry = null] = Array.isArray(info) ? info : [];
  const flags = Array.isArray(entry) && Array.isArray(entry[2]) ? entry[2].map(textOf) : [];
  if (!flags.includes('readonly')) {
    throw new Failure('denied', `${connection.where}: a check may only read, and ${command} is no reading command`, {
      hint: "for example 'DBSIZE' or 'SCARD users'",
    });
  }
  const reply = await connection.call(...words);
  const number = typeof reply === 'number' ? reply : Number(textOf(reply) || Number.NaN);
  if (!Number.isNaN(number)) return number;
  throw new Failure('denied', `${connection.where}: ${command} does not answer with a number`);
}

/** Words as a shell has them: quotes hold what has blanks. */
function wordsOf(query: string): string[] {
  return [...query.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'|(\S+)/g)].map(([, double, single, plain]) => {
    return double?.replace(/\\(.)/g, '$1') ?? single ?? plain ?? '';
  });
}
