// Whether something is there. A HEAD that says 404 has no body to say why, and a proxy that has lost its server says so
// as well: what may be missing is asked for once more in a way that has one.

import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Client, Request } from './client.ts';
import { wordOf } from './failures.ts';
import type { HttpAnswer } from './http.ts';

/** How often it may be there and not there. */
const ATTEMPTS = 3;

export interface Looked {
  readonly bucket: string;
  /** Absent: the bucket itself. */
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
}

/** The headers of an object or of a bucket. 'missing' only when the server itself says so. */
export async function look(ctx: Context, client: Client, what: string, place: Looked): Promise<HttpAnswer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await client.send(ctx, what, { method: 'HEAD', ...place });
    } catch (error) {
      if (!isFailure(error, 'missing')) throw error;
      await needThere(ctx, client, what, place);
      if (attempt < ATTEMPTS) continue;
      throw new Failure('unreachable', `${what} at ${client.where}: it is there, and is not when it is looked at`, {
        cause: error,
        hint: 'see the proxy before the server',
      });
    }
  }
}

/** 'missing', with the server's own word, when it is not there. The rights for it are those for HEAD. */
async function needThere(ctx: Context, client: Client, what: string, place: Looked): Promise<void> {
  const request: Request =
    place.key === undefined
      ? { method: 'GET', bucket: place.bucket, query: { 'list-type': '2', 'max-keys': '1' } }
      : { method: 'GET', ...place, headers: { range: 'bytes=0-0' } };
  try {
    await client.send(ctx, what, request);
  } catch (error) {
    // Of an empty object there is no first byte, and some servers give all of it.
    if (!isFailure(error, 'different') && !isFailure(error, 'query-failed')) throw error;
  }
}

/** True when the object or the version is gone: not its bucket, and not something that belongs to it. */
export function isGone(error: unknown): boolean {
  return isFailure(error, 'missing') && /^NoSuch(Key|Version)$/.test(wordOf(error));
}
