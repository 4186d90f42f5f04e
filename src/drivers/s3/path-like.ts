// Keys that look like ways through folders. To S3 they are bytes; servers on file systems may take '/a' and 'x//../a'
// for 'a', which then must not be written over.

import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Client } from './client.ts';
import { statusOf } from './failures.ts';
import { isGone, look } from './looking.ts';

/** An empty folder, '.' or '..' is in it. */
export function isPathLike(key: string): boolean {
  return /(^|\/)\.{0,2}\/|(^|\/)\.{1,2}$/.test(key);
}

/** Whether the server gives something for a key that it does not list. */
export async function isAnother(ctx: Context, client: Client, bucket: string, key: string): Promise<boolean> {
  try {
    await look(ctx, client, `looking for ${bucket}/${key}`, { bucket, key });
    return true;
  } catch (error) {
    // No such key for it at all: what refuses the write says why.
    if (isGone(error) || (isFailure(error) && statusOf(error) === 400)) return false;
    throw error;
  }
}
