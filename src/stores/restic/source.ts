// One component of a point, or a whole snapshot of stock restic, as parts.

import { Failure } from '../../core/errors.ts';
import type { ByteRange, Bytes, Context, Part, Source } from '../../core/model.ts';
import { sha256 } from './crypto.ts';
import type { TreeNode } from './nodes.ts';
import type { Reader } from './reader.ts';
import type { Trees } from './trees.ts';

export const DEPTH_MAX = 1024;

export interface TreeSource extends Source {
  /** The part's blobs, for keeping it in another point. */
  node(ctx: Context, name: string): Promise<TreeNode>;
}

export function treeSource(options: {
  readonly point: string;
  readonly component: string;
  readonly tree: Buffer;
  readonly trees: Trees;
  readonly reader: Reader;
}): TreeSource {
  const { point, component, trees, reader } = options;
  const partOf = (name: string, { bytes, content, attributes }: TreeNode): Part => ({
    name,
    bytes,
    digest: `blobs:${sha256(content).toString('hex')}`,
    point,
    component,
    ...(attributes ? { attributes } : {}),
  });

  async function* walk(ctx: Context, tree: Buffer, path: string, prefix: string, depth: number): AsyncIterable<Part> {
    if (depth > DEPTH_MAX) throw new Failure('malformed', `${point}/${component} has more than ${DEPTH_MAX} folders`);
    for (const { name, node } of (await trees.load(ctx, tree)).entries) {
      const whole = path + name;
      if (node.subtree) {
        const below = `${whole}/`;
        if (below.startsWith(prefix) || prefix.startsWith(below)) {
          yield* walk(ctx, node.subtree, below, prefix, depth + 1);
        }
      } else if (node.type === 'file' && whole.startsWith(prefix)) yield partOf(whole, node);
    }
  }

  async function node(ctx: Context, name: string): Promise<TreeNode> {
    const segments = name.split('/');
    const last = segments.pop() ?? '';
    let tree: Buffer | undefined = options.tree;
    for (const segment of segments) {
      const folder = await trees.load(ctx, tree);
      tree = folder.folder(segment)?.subtree;
      if (!tree) break;
    }
    const found = tree && (await trees.load(ctx, tree)).file(last);
    if (found?.type === 'file') return found;
    throw new Failure('missing', `${point}/${component} has no part ${name}`);
  }

  return {
    point,
    component,
    parts: (ctx, prefix = '') => walk(ctx, options.tree, '', prefix, 0),
    part: async (ctx, name) => partOf(name, await node(ctx, name)),
    node,
    async *get(ctx: Context, name: string, range?: ByteRange): Bytes {
      const { content, bytes } = await node(ctx, name);
      if (range && range.offset + range.length > bytes) {
        throw new Failure('missing', `${point}/${component}/${name} has ${bytes} bytes: a range ends past them`);
      }
      let read = 0;
      try {
        for await (const chunk of reader.stream(ctx, content, range)) {
          read += chunk.length;
          yield chunk;
        }
      } catch (cause) {
        if (!(cause instanceof Failure)) throw cause;
        throw new Failure(cause.code, `${point}/${component}/${name} can't be read: ${cause.message}`, {
          cause,
          hint: cause.hint,
        });
      }
      if (read !== (range?.length ?? bytes)) {
        throw new Failure('checksum', `${point}/${component}/${name} has ${read} bytes and should have ${bytes}`);
      }
    },
  };
}
