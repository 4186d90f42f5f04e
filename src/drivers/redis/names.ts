// Which keys there are, for reference checks. A space is a pattern of keys, such as 'session:*', of the first database.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { connect } from './connection.ts';
import { textOf } from './resp.ts';
import type { Settings } from './settings.ts';

const SCANNED_AT_ONCE = 1_000;

/** Every key of the pattern that was there all the time; one that comes or goes meanwhile may be told or not. */
export async function* names(ctx: Context, settings: Settings, pattern: string): AsyncIterable<string> {
  await using connection = await connect(ctx, settings);
  let cursor = '0';
  do {
    const reply = await connection.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', String(SCANNED_AT_ONCE));
    const [next, keys] = Array.isArray(reply) ? reply : [];
    if (next === undefined || !Array.isArray(keys)) {
      throw new Failure('malformed', `${connection.where}: SCAN answered something else than a cursor and keys`);
    }
    yield* keys.map(textOf);
    cursor = textOf(next);
  } while (cursor !== '0');
}

export async function holds(ctx: Context, settings: Settings, wanted: readonly string[]): Promise<readonly boolean[]> {
  await using connection = await connect(ctx, settings);
  return await Promise.all(wanted.map(async (name) => (await connection.call('EXISTS', name)) === 1));
}
