// Walks everything that some trees reach, each tree once.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Repository } from './repository.ts';
import { DEPTH_MAX } from './source.ts';

export interface Visitor {
  /** Each tree once, and each blob of each file that is met. A throw ends the walk. */
  blob(id: Buffer, tree: boolean): void;
}

/** Trees are read so many at a time. */
const READS_MAX = 16;

/** Throws what reading a tree throws: a walk is whole or it is none. */
export async function walkTrees(
  ctx: Context,
  { trees, url }: Pick<Repository, 'trees' | 'url'>,
  roots: readonly Buffer[],
  visitor: Visitor,
): Promise<void> {
  const seen = new Set<string>();
  let level: Buffer[] = [];
  const enter = (id: Buffer): void => {
    const key = id.toString('latin1');
    if (seen.has(key)) return;
    seen.add(key);
    visitor.blob(id, true);
    level.push(id);
  };
  for (const root of roots) enter(root);
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_MAX) throw new Failure('malformed', `${url} has folders more than ${DEPTH_MAX} deep`);
    const now = level;
    level = [];
    for (let at = 0; at < now.length; at += READS_MAX) {
      ctx.signal.throwIfAborted();
      const folders = await Promise.all(now.slice(at, at + READS_MAX).map((id) => trees.load(ctx, id)));
      for (const { node } of folders.flatMap(({ entries }) => entries)) {
        if (node.subtree) enter(node.subtree);
        for (let i = 0; i < node.content.length; i += 32) visitor.blob(node.content.subarray(i, i + 32), false);
      }
    }
  }
}
