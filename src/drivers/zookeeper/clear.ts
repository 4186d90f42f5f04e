// For staging services: emptied after a drill.

import type { Context } from '../../core/model.ts';
import { connect } from './client.ts';
import { isWithin } from './entries.ts';
import { REFUSED, request } from './protocol.ts';
import { isOwn, joined, type Settings } from './settings.ts';
import { walk } from './walk.ts';

const REASONS_MAX = 10;

/** Everything from the root on: there was nothing before. */
export async function clear(ctx: Context, settings: Settings): Promise<readonly string[]> {
  await using client = await connect(ctx, settings);
  const left: string[] = [];
  // Each lies in the one before, and all below those behind it has been told of.
  const going: string[] = [];
  const removeThose = async (isOver: (path: string) => boolean): Promise<void> => {
    for (let path = going.at(-1); path !== undefined && isOver(path); path = going.at(-1)) {
      going.pop();
      const { error } = await client.ask('delete', request.delete(path));
      if (error !== 0 && error !== REFUSED.noNode) left.push(`znode ${path} stays (error ${error})`);
    }
  };
  for await (const entries of walk(ctx, { client, root: settings.root, take: async () => null })) {
    for (const entry of entries) {
      const path = joined(settings.root, entry.path);
      await removeThose((each) => !isWithin(path, each));
      if (path !== '/' && !isOwn(path)) going.push(path);
    }
  }
  await removeThose(() => true);
  return left.slice(0, REASONS_MAX);
}
