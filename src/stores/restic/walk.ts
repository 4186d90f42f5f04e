// Walks everything that some trees reach, each tree once.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { plainLength } from './pack.ts';
import type { Repository } from './repository.ts';
import { DEPTH_MAX } from './source.ts';

export interface Visitor {
  /** Each tree once, and each blob of each file that is met. A throw ends the walk. */
  blob(id: Buffer, tree: boolean): void;
}

/** Trees are read so many at a time, and of so many bytes: one takes some times its size once it is parsed. */
const READS_MAX = 16;
const READ_BYTES_MAX = 2 * 1024 * 1024;

/** Throws what reading a tree throws: a walk is whole or it is none. */
export async function walkTrees(
  ctx: Context,
  repository: Pick<Repository, 'trees' | 'indexes' | 'url'>,
  roots: readonly Buffer[],
  visitor: Visitor,
): Promise<void> {
  const { trees, url } = repository;
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
    for (const group of groupsOf(repository, now)) {
      ctx.signal.throwIfAborted();
      const folders = await Promise.all(group.map((id) => trees.load(ctx, id)));
      for (const { node } of folders.flatMap(({ entries }) => entries)) {
        if (node.subtree) enter(node.subtree);
        for (let i = 0; i < node.content.length; i += 32) visitor.blob(node.content.subarray(i, i + 32), false);
      }
    }
  }
}

/** A tree that is larger than all may be together is a group of its own. */
function* groupsOf({ indexes: { blobs } }: Pick<Repository, 'indexes'>, ids: readonly Buffer[]): Iterable<Buffer[]> {
  let group: Buffer[] = [];
  let bytes = 0;
  for (const id of ids) {
    const place = blobs.find(id, true);
    const more = place ? plainLength(place) : 0; // reading it says that it is in no index
    if (group.length === READS_MAX || (group.length > 0 && bytes + more > READ_BYTES_MAX)) {
      yield group;
      group = [];
      bytes = 0;
    }
    group.push(id);
    bytes += more;
  }
  if (group.length > 0) yield group;
}
