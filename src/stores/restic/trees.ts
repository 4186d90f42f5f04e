// Folders: written from parts in order of name, and read with limits, as the store is untrusted.

import { setImmediate } from 'node:timers/promises';
import { byteOrder, releaseLarge } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, FileAttributes } from '../../core/model.ts';
import type { BlobIndex } from './index.ts';
import { dirJson, dirNode, fileJson, fileNode, parseTree, type TreeNode, treeBlob } from './nodes.ts';
import type { Writer } from './writer.ts';

/** Where a file and a folder have one name, the file gets this mark; and what looks marked gets one of its kind too. */
const FILE_MARK = '%file-';
const FOLDER_MARK = '%folder-';
/** A folder is one blob, and in memory whole. */
const FOLDER_BYTES_MAX = 96 * 1024 * 1024;

/** A part that goes into a folder. */
export interface PartEntry {
  readonly name: string;
  readonly bytes: number;
  /** The ids of its blobs, 32 bytes each. */
  readonly content: Buffer;
  readonly attributes: FileAttributes | undefined;
  /** Of what is kept: where it was before. Not on disk. */
  readonly kept?: KeptNode | undefined;
}

/** Where folders go: into the repository, and to those who look at them soon after. */
interface Folders {
  readonly writer: Pick<Writer, 'addBlob'>;
  readonly trees: Pick<Trees, 'enter'>;
  /** What need not be written again. */
  readonly blobs: Pick<BlobIndex, 'has'>;
}

interface Known {
  readonly trees: Folders['trees'];
  readonly indexes: { readonly blobs: Folders['blobs'] };
}

export function foldersOf({ trees, indexes }: Known, writer: Writer): Folders {
  return { writer, trees, blobs: indexes.blobs };
}

interface OpenFolder {
  readonly name: string;
  readonly files: PartEntry[];
  readonly folders: { readonly name: string; readonly id: Buffer }[];
}

/**
 * Writes the folders of parts that come in byte order of name, and returns the id of the outermost. Only the folders
 * that are open are in memory. `folderBytesMax` is for tests.
 */
export async function writeTree(
  ctx: Context,
  to: Folders,
  parts: AsyncIterable<readonly PartEntry[]>,
  folderBytesMax = FOLDER_BYTES_MAX,
): Promise<Buffer> {
  const open: OpenFolder[] = [{ name: '', files: [], folders: [] }];
  async function closeTo(depth: number): Promise<void> {
    while (open.length > depth) {
      const folder = open.pop();
      if (!folder) return;
      const id = await writeFolder(ctx, to, folder, folderBytesMax);
      open.at(-1)?.folders.push({ name: folder.name, id });
    }
  }
  async function moveTo(segments: readonly string[]): Promise<void> {
    let depth = 1;
    while (depth <= segments.length && open[depth]?.name === segments[depth - 1]) depth += 1;
    await closeTo(depth);
    for (const segment of segments.slice(depth - 1)) open.push({ name: segment, files: [], folders: [] });
  }
  let path = '';
  for await (const some of parts) {
    await setImmediate(); // threads that have packs ready wait for this one
    for (const part of some) {
      const end = part.name.lastIndexOf('/') + 1;
      if (part.name.slice(0, end) !== path) {
        path = part.name.slice(0, end);
        await moveTo(path.split('/').slice(0, -1));
      }
      open.at(-1)?.files.push({ ...part, name: part.name.slice(end) });
    }
  }
  await closeTo(1);
  const [root] = open;
  return await writeFolder(ctx, to, root ?? { name: '', files: [], folders: [] }, folderBytesMax);
}

/** The outermost folder of a point: a folder per component, and the manifest. */
export async function writeRoot(
  ctx: Context,
  to: Folders,
  components: readonly { name: string; tree: Buffer }[],
  manifest: PartEntry,
): Promise<Buffer> {
  const folders = components.map(({ name, tree }) => ({ name, id: tree }));
  return await writeFolder(ctx, to, { name: '', files: [manifest], folders }, FOLDER_BYTES_MAX);
}

async function writeFolder(
  ctx: Context,
  { writer, trees, blobs }: Folders,
  folder: OpenFolder,
  bytesMax: number,
): Promise<Buffer> {
  const before = sameFolder(folder);
  if (before && blobs.has(before.id, true)) return before.id;
  const { name: own, files, folders } = folder;
  const taken = new Set(folders.map(({ name }) => name));
  const entries = folders.map(({ name: plain, id }) => {
    const name = Buffer.from(looksMarked(plain) ? FOLDER_MARK + plain : plain);
    return { json: dirJson(name, id), node: dirNode(name, id) };
  });
  for (const file of files) {
    const name = Buffer.from(looksMarked(file.name) || taken.has(file.name) ? FILE_MARK + file.name : file.name);
    entries.push({ json: fileJson(name, file.bytes, file.content, file.attributes), node: fileNode(name, file) });
  }
  entries.sort((a, b) => Buffer.compare(a.node.name, b.node.name));
  const bytes = entries.reduce((sum, { json }) => sum + Buffer.byteLength(json), 0);
  if (bytes > bytesMax) {
    throw new Failure('value-too-large', `folder '${own}' with ${entries.length} entries takes ${bytes} bytes`, {
      hint: 'a folder takes about 300 000 files, or a file of 1.4 TiB: spread them over more folders',
    });
  }
  const blob = treeBlob(entries.map(({ json }) => json));
  const id = await writer.addBlob(ctx, 'tree', blob);
  releaseLarge(blob);
  trees.enter(
    id,
    entries.map(({ node }) => node),
  );
  return id;
}

/** A folder of an earlier point of which all is kept, and nothing else is there. */
function sameFolder({ files, folders }: OpenFolder): Folder | undefined {
  const before = files[0]?.kept?.folder;
  if (before?.entries.length !== files.length + folders.length) return undefined;
  const isSame =
    files.every(({ name, kept, attributes }) => {
      return kept && before.file(name) === kept.node && sameAttributes(attributes, kept.node.attributes);
    }) && folders.every(({ name, id }) => before.folder(name)?.subtree?.equals(id));
  return isSame ? before : undefined;
}

function sameAttributes(a: FileAttributes | undefined, b: FileAttributes | undefined): boolean {
  return a?.mode === b?.mode && a?.uid === b?.uid && a?.gid === b?.gid && a?.mtime === b?.mtime;
}

function looksMarked(name: string): boolean {
  return name.startsWith(FILE_MARK) || name.startsWith(FOLDER_MARK);
}

/** A folder as it was read: its entries under the names of parts, in an order that makes a walk one in byte order. */
export interface Folder {
  readonly id: Buffer;
  /** What it takes in memory. */
  readonly bytes: number;
  readonly entries: readonly FolderEntry[];
  file(name: string): TreeNode | undefined;
  folder(name: string): TreeNode | undefined;
}
export interface FolderEntry {
  readonly name: string;
  readonly node: TreeNode;
}
/** A file of an earlier point, and the folder that holds it. */
export interface KeptNode {
  readonly node: TreeNode;
  readonly folder: Folder;
}
export interface Trees {
  /** 'checksum' or 'missing' when the tree can't be read, 'malformed' when it is hostile. */
  load(ctx: Context, id: Buffer): Promise<Folder>;
  /** Takes a tree that was just written, in the order of its entries, so that it need not be read. */
  enter(id: Buffer, nodes: readonly TreeNode[]): void;
}

const CACHED_BYTES_MAX = 16 * 1024 * 1024;
const ENTRY_BYTES = 512; // of an entry in memory, beside the ids of its content

/** Blobs that are read are its own. */
export function treeReader(readBlob: (ctx: Context, id: Buffer) => Promise<Buffer>): Trees {
  const cached = new Map<string, Folder>();
  const loading = new Map<string, Promise<Folder>>();
  let cachedBytes = 0;

  function enter(hex: string, folder: Folder): void {
    if (cached.has(hex)) return;
    cached.set(hex, folder);
    cachedBytes += folder.bytes;
    for (const [oldest, gone] of cached) {
      if (cachedBytes <= CACHED_BYTES_MAX || oldest === hex) break;
      cached.delete(oldest);
      cachedBytes -= gone.bytes;
    }
  }
  async function read(ctx: Context, id: Buffer, hex: string): Promise<Folder> {
    const blob = await readBlob(ctx, id);
    const folder = folderOf(id, parseTree(blob, `tree ${hex}`));
    releaseLarge(blob);
    enter(hex, folder);
    return folder;
  }

  return {
    enter(id, nodes) {
      const hex = id.toString('hex');
      if (!cached.has(hex)) enter(hex, folderOf(id, nodes));
    },
    async load(ctx, id) {
      const hex = id.toString('hex');
      const found = cached.get(hex);
      if (found) return found;
      const others = loading.get(hex);
      // What another caller could not read may have been stopped with that one: it is tried again.
      const folder = others && (await others.catch(() => undefined));
      if (folder) return folder;
      const reading = read(ctx, id, hex).finally(() => loading.delete(hex));
      loading.set(hex, reading);
      return await reading;
    },
  };
}

function folderOf(id: Buffer, nodes: readonly TreeNode[]): Folder {
  const files = new Map<string, TreeNode>();
  const folders = new Map<string, TreeNode>();
  const ordered = nodes.map((node) => {
    const isDir = node.type === 'dir';
    const stored = node.name.toString('utf8');
    const mark = isDir ? FOLDER_MARK : FILE_MARK;
    const name = stored.startsWith(mark) ? stored.slice(mark.length) : stored;
    (isDir ? folders : files).set(name, node);
    return { name, node, order: isDir ? `${name}/` : name };
  });
  ordered.sort((a, b) => byteOrder(a.order, b.order));
  return {
    id,
    bytes: nodes.reduce((sum, { content }) => sum + ENTRY_BYTES + content.length, ENTRY_BYTES),
    entries: ordered.map(({ name, node }) => ({ name, node })),
    file: (name) => files.get(name),
    folder: (name) => folders.get(name),
  };
}
