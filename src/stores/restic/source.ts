// One component of a point, or a whole snapshot of stock restic, as parts.

import { Failure } from '../../core/errors.ts';
import type { ByteRange, Bytes, Context, Part, Source } from '../../core/model.ts';
import { sha256 } from './crypto.ts';
import type { TreeNode } from './nodes.ts';
import type { Reader } from './reader.ts';
import type { Folder, Trees } from './trees.ts';

export const DEPTH_MAX = 1024;

/** The id of a blob is the hash of its bytes, and so says all of a part that is one. */
export function digestOf(content: Buffer): string {
  return content.length === 32 ? `sha256:${content.toString('hex')}` : `blobs:${sha256(content).toString('hex')}`;
}

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
    digest: digestOf(content),
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

  /** The folder that was asked last: who asks for many parts asks in their order. */
  let latest: { readonly path: string; readonly folder: Folder | undefined } | undefined;

  async function folderAt(ctx: Context, path: string): Promise<Folder | undefined> {
    if (latest?.path === path) return latest.folder;
    let folder: Folder | undefined = await trees.load(ctx, options.tree);
    for (const segment of path.split('/').slice(0, -1)) {
      const tree: Buffer | undefined = folder?.folder(segment)?.subtree;
      folder = tree && (await trees.load(ctx, tree));
    }
    latest = { path, folder };
    return folder;
  }

  async function node(ctx: Context, name: string): Promise<TreeNode> {
    const end = name.lastIndexOf('/') + 1;
    const found = (await folderAt(ctx, name.slice(0, end)))?.file(name.slice(end));
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
