// One component of a point, or a whole snapshot of stock restic, as parts.

import assert from 'node:assert/strict';
import { Failure } from '../../core/errors.ts';
import type { Context, Part, Source } from '../../core/model.ts';
import { sha256 } from './crypto.ts';
import type { BlobIndex } from './index.ts';
import type { TreeNode } from './nodes.ts';
import { EVEN_CHUNK_BYTES, plainLength } from './pack.ts';
import type { Reader } from './reader.ts';
import { ID_BYTES } from './reader-plan.ts';
import { bodiesOf, bodyOf, unhashedBodyOf, type Wanted } from './source-bodies.ts';
import type { Folder, KeptNode, Trees } from './trees.ts';

export const DEPTH_MAX = 1024;

/** The id of a blob is the hash of its bytes, and so says all of a part that is one. */
export function digestOf(content: Buffer): string {
  return content.length === 32 ? `sha256:${content.toString('hex')}` : `blobs:${sha256(content).toString('hex')}`;
}

function partIn(
  { point, component, blobs }: TreeOptions,
  name: string,
  { bytes, content, attributes }: TreeNode,
): Part {
  return {
    name,
    bytes,
    digest: digestOf(content),
    point,
    component,
    ...(attributes ? { attributes } : {}),
    ...(isEven(blobs, content, bytes) ? { inPlace: true } : {}),
  };
}

/** Whether borders were looked for when it was stored, its first blob tells. */
function isEven(blobs: Pick<BlobIndex, 'find'>, content: Buffer, bytes: number): boolean {
  if (bytes <= EVEN_CHUNK_BYTES || content.length !== Math.ceil(bytes / EVEN_CHUNK_BYTES) * ID_BYTES) return false;
  const first = blobs.find(content.subarray(0, ID_BYTES), false);
  return first !== undefined && plainLength(first) === EVEN_CHUNK_BYTES;
}

export interface TreeSource extends Source {
  /** The blobs of parts, for keeping them in another point. Quickest in the order of names. */
  nodes(ctx: Context, names: readonly string[]): Promise<readonly KeptNode[]>;
}

interface TreeOptions {
  readonly point: string;
  readonly component: string;
  readonly tree: Buffer;
  readonly trees: Trees;
  readonly reader: Reader;
  readonly blobs: Pick<BlobIndex, 'find'>;
}

export function treeSource(options: TreeOptions): TreeSource {
  const { point, component, trees, reader } = options;
  const partOf = (name: string, node: TreeNode): Part => partIn(options, name, node);

  /** In one loop, not one in another: every part would pass through as many as there are folders above it. */
  async function* walk(ctx: Context, prefix: string): AsyncIterable<Part> {
    const open = [{ path: '', entries: (await trees.load(ctx, options.tree)).entries.values() }];
    for (let folder = open.at(-1); folder; folder = open.at(-1)) {
      const next = folder.entries.next();
      if (next.done) {
        open.pop();
        continue;
      }
      const { name, node } = next.value;
      const whole = folder.path + name;
      const below = `${whole}/`;
      if (!node.subtree) {
        if (node.type === 'file' && whole.startsWith(prefix)) yield partOf(whole, node);
      } else if (below.startsWith(prefix) || prefix.startsWith(below)) {
        if (open.length > DEPTH_MAX) {
          throw new Failure('malformed', `${point}/${component} has more than ${DEPTH_MAX} folders`);
        }
        open.push({ path: below, entries: (await trees.load(ctx, node.subtree)).entries.values() });
      }
    }
  }

  async function folderAt(ctx: Context, path: string): Promise<Folder | undefined> {
    let folder: Folder | undefined = await trees.load(ctx, options.tree);
    for (const segment of path.split('/').slice(0, -1)) {
      const tree: Buffer | undefined = folder?.folder(segment)?.subtree;
      folder = tree && (await trees.load(ctx, tree));
    }
    return folder;
  }

  /** The folder that was asked last: who asks for many parts asks in their order. */
  let latest: { readonly path: string; readonly folder: Folder | undefined } | undefined;

  async function nodes(ctx: Context, names: readonly string[]): Promise<readonly KeptNode[]> {
    const found: KeptNode[] = [];
    for (const name of names) {
      const end = name.lastIndexOf('/') + 1;
      const path = name.slice(0, end);
      if (latest?.path !== path) latest = { path, folder: await folderAt(ctx, path) };
      const { folder } = latest;
      const node = folder?.file(name.slice(end));
      if (!folder || node?.type !== 'file') {
        throw new Failure('missing', `${point}/${component} has no part ${name}`);
      }
      found.push({ node, folder });
    }
    return found;
  }
  async function node(ctx: Context, name: string): Promise<TreeNode> {
    const [found] = await nodes(ctx, [name]);
    assert(found);
    return found.node;
  }

  const wantedOf = (name: string, node: TreeNode): Wanted => ({ what: `${point}/${component}/${name}`, node });

  return {
    point,
    component,
    identity: options.tree.toString('hex'),
    parts: (ctx, prefix = '') => walk(ctx, prefix),
    part: async (ctx, name) => partOf(name, await node(ctx, name)),
    nodes,
    async *get(ctx, name, range) {
      yield* bodyOf(ctx, reader, wantedOf(name, await node(ctx, name)), range);
    },
    async *getUnhashed(ctx, name) {
      yield* unhashedBodyOf(ctx, reader, wantedOf(name, await node(ctx, name)));
    },
    async *getAll(ctx, names) {
      const found = await nodes(ctx, names);
      const wanted = found.map(({ node }, i) => wantedOf(names[i] ?? '', node));
      yield* bodiesOf(ctx, reader, wanted);
    },
  };
}
