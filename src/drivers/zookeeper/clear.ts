// For staging services: emptied after a drill.

import type { Context } from '../../core/model.ts';
import { leavingWith } from './existing.ts';
import { REFUSED, request, wordsFor } from './protocol.ts';
import { isOwn, joined, type Settings } from './settings.ts';
import { walk } from './walk.ts';
import { openWriter } from './writer.ts';

const REASONS_MAX = 10;

/** Everything from the root on: there was nothing before. */
export async function clear(ctx: Context, settings: Settings): Promise<readonly string[]> {
  await using writer = await openWriter(ctx, settings);
  const left: string[] = [];
  const going = leavingWith(async (path) => {
    await writer.send('delete', request.delete(path), ({ error }) => {
      if (error !== 0 && error !== REFUSED.noNode) left.push(`znode ${path} stays (${wordsFor(error)})`);
    });
  });
  for await (const entries of walk(ctx, { client: writer.client(), root: settings.root, take: async () => null })) {
    for (const entry of entries) {
      const path = joined(settings.root, entry.path);
      await going.before(path);
      if (path !== '/' && !isOwn(path)) going.add(path);
    }
  }
  await going.all();
  await writer.settled();
  return left.slice(0, REASONS_MAX);
}
