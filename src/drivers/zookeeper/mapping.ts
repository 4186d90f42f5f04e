// Which subtrees of a point go where.

import { Failure } from '../../core/errors.ts';
import type { RestoreOptions, Selection } from '../../core/model.ts';
import { isWithin } from './entries.ts';
import { isOwn, isPath, joined } from './settings.ts';

export interface Move {
  /** Below the root of the point. */
  readonly from: string;
  /** As the target's server knows it. */
  readonly to: string;
}
export interface Mapping {
  /** Each is a subtree; none lies in another. */
  readonly moves: readonly Move[];
  /** All of the point to the root of the component. */
  readonly whole: boolean;
}

/**
 * `select.paths` and the old names of `rename` are paths as the server that was captured knew them, the new names as
 * the target knows them.
 */
export function mappingOf(captured: string, root: string, { select = {}, rename }: RestoreOptions): Mapping {
  refuseOthers(select);
  const renames = Object.entries(rename ?? {});
  if (!select.paths && renames.length === 0) return { moves: [{ from: '/', to: root }], whole: true };
  const renamed = renames.map(([from, to]) => ({ from: within(captured, from), to: checked(to) }));
  const chosen = select.paths?.map((path) => within(captured, path)) ?? renamed.map(({ from }) => from);
  const moves = chosen.map((from) => {
    const move = renamed.find((each) => isWithin(from, each.from));
    return { from, to: move ? joined(move.to, below(from, move.from)) : joined(root, from) };
  });
  for (const { from } of renamed) {
    if (!chosen.some((path) => isWithin(from, path))) continue;
    if (!chosen.includes(from)) moves.push({ from, to: renamed.find((each) => each.from === from)?.to ?? root });
  }
  return { moves: moves.filter(({ from }, i) => moves.findIndex((each) => each.from === from) === i), whole: false };
}

/** Where an entry of the point goes; null when it was not chosen. The nearest move wins. */
export function targetOf({ moves }: Mapping, path: string): string | null {
  let best: Move | null = null;
  for (const move of moves) {
    if (isWithin(path, move.from) && (best === null || move.from.length > best.from.length)) best = move;
  }
  return best && joined(best.to, below(path, best.from));
}

/** `path` seen from its ancestor. */
function below(path: string, ancestor: string): string {
  return ancestor === '/' ? path : path.slice(ancestor.length) || '/';
}

function within(captured: string, path: string): string {
  const plain = checked(path);
  if (captured === '/') return plain;
  if (isWithin(plain, captured)) return below(plain, captured);
  throw new Failure('usage', `${path} is not in the point, which holds ${captured}`);
}

function checked(path: string): string {
  const plain = path === '/' ? path : path.replace(/\/$/, '');
  if (!isPath(plain)) throw new Failure('usage', `${path} is no path of a znode`);
  if (isOwn(plain)) throw new Failure('usage', `${path} is ZooKeeper's own: it is neither captured nor restored`);
  return plain;
}

function refuseOthers(select: Selection): void {
  for (const [field, value] of Object.entries(select)) {
    if (field === 'paths' || value === undefined) continue;
    throw new Failure('usage', `zookeeper has no ${field} to choose by`, {
      hint: 'choose subtrees: --select path=/app',
    });
  }
}
