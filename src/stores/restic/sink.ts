// Where the parts of one component go.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { bytesOf, wholeOf } from '../../core/bytes.ts';
import { keepBy, only } from '../../core/many-parts.ts';
import type {
  Bytes,
  Context,
  Json,
  KeptPart,
  Part,
  PartMeta,
  PartRef,
  Receipt,
  Sink,
  WholePart,
} from '../../core/model.ts';
import { CHUNK_BYTES_MIN } from './chunker.ts';
import { shaped } from './documents.ts';
import type { Lock } from './locks.ts';
import { componentSource } from './points.ts';
import type { Repository } from './repository.ts';
import { digestOf, type TreeSource } from './source.ts';
import { type PartSpool, partSpool } from './spool.ts';
import { foldersOf, type KeptNode, type PartEntry, writeTree } from './trees.ts';
import type { SmallBlob, Writer } from './writer.ts';

const NAME_BYTES_MAX = 1024;

const proofSchema = z.object({ tree: z.hex().length(64) });
export const receiptSchema = z.object({
  component: z.string(),
  parts: z.number(),
  bytes: z.number(),
  proof: z.json().transform((json) => json as Json),
});

/** 'malformed' when it is no receipt of this format: they may come from another process. */
export function treeOfReceipt({ component, proof }: Receipt): Buffer {
  return Buffer.from(shaped(proofSchema, proof, `the receipt of ${component}`).tree, 'hex');
}

interface Held {
  readonly lock: Lock;
  readonly writer: Writer;
}

export function componentSink(
  repository: Repository,
  held: Held,
  options: {
    readonly point: string;
    readonly component: string;
    /** Keeps the receipt for another process. */
    keep(ctx: Context, receipt: Receipt): Promise<void>;
  },
): Sink & AsyncDisposable {
  const { point, component } = options;
  const { lock, writer } = held;
  const spool = partSpool();
  const sourceOf = sourcesOf(repository);
  let parts = 0;
  let bytes = 0;
  let closed = false;

  async function enter(ctx: Context, entries: readonly PartEntry[]): Promise<Part[]> {
    await spool.add(ctx, entries);
    parts += entries.length;
    return entries.map((entry) => {
      const { name, content, attributes } = entry;
      bytes += entry.bytes;
      const part = { name, bytes: entry.bytes, digest: digestOf(content), point, component };
      return attributes ? { ...part, attributes } : part;
    });
  }

  async function putAll(ctx: Context, wholes: readonly WholePart[]): Promise<Part[]> {
    if (lock.isDue(ctx)) await lock.touch(ctx);
    const blobs: SmallBlob[] = [];
    const entries: PartEntry[] = [];
    for (const { name, whole, sha256, meta } of wholes) {
      assertName(name, closed);
      const attributes = meta?.attributes;
      if (whole.length === 0 || whole.length >= CHUNK_BYTES_MIN) {
        entries.push({ name, ...(await write(ctx, held, bytesOf(whole), meta)), attributes });
      } else {
        const content = Buffer.from(sha256, 'hex');
        blobs.push({ id: content, plain: whole });
        entries.push({ name, content, bytes: whole.length, attributes });
      }
    }
    await writer.addBlobs(ctx, blobs);
    return await enter(ctx, entries);
  }

  async function keepAll(ctx: Context, kept: readonly KeptPart[]): Promise<Part[]> {
    const [first] = kept;
    if (!first) return [];
    const source = await sourceOf(ctx, first.from);
    const nodes = await source.nodes(
      ctx,
      kept.map(({ from }) => from.name),
    );
    const entries: PartEntry[] = [];
    for (const [at, { name, from, meta }] of kept.entries()) {
      assertName(name, closed);
      assert(from.point === source.point && from.component === source.component, 'parts of one source are kept');
      const node = nodes[at] as KeptNode;
      const { content, bytes: length } = node.node;
      // What lies in a pack that is lost, or about to be deleted, is written once more.
      const isThere = everyId(content, (id) => repository.indexes.blobs.has(id, false));
      const part = isThere
        ? { content, bytes: length, kept: node }
        : await write(ctx, held, source.get(ctx, from.name), meta);
      entries.push({ name, ...part, attributes: meta?.attributes });
    }
    return await enter(ctx, entries);
  }

  return {
    async put(ctx, name, body, meta) {
      assertName(name, closed);
      return only(await enter(ctx, [{ name, ...(await write(ctx, held, body, meta)), attributes: meta?.attributes }]));
    },
    keep: keepBy(keepAll),
    putAll,
    keepAll,
    async receipt(ctx) {
      assert(!closed, 'a receipt is given once');
      closed = true;
      const tree = await storeAll(ctx, repository, writer, spool);
      await lock.assertHeld(ctx);
      const receipt = { component, parts, bytes, proof: { tree: tree.toString('hex') } };
      await options.keep(ctx, receipt);
      return receipt;
    },
    [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
  };
}

/** All that was put, and its folders: while they are written, the last packs of data are read back and stored. */
async function storeAll(ctx: Context, repository: Repository, writer: Writer, parts: PartSpool): Promise<Buffer> {
  const data = writer.flush(ctx);
  data.catch(() => {}); // thrown below
  const tree = await writeTree(ctx, foldersOf(repository, writer), parts.sorted());
  await data;
  await writer.flush(ctx);
  await repository.indexes.save(ctx);
  return tree;
}

/** As a stream, unless it is there and small. */
async function write(
  ctx: Context,
  { lock, writer }: Held,
  body: Bytes,
  meta: PartMeta | undefined,
): Promise<Pick<PartEntry, 'content' | 'bytes'>> {
  if (lock.isDue(ctx)) await lock.touch(ctx);
  const whole = wholeOf(body);
  if (whole && whole.length > 0 && whole.length < CHUNK_BYTES_MIN) {
    return { content: await writer.addBlob(ctx, 'data', whole), bytes: whole.length };
  }
  const { ids, bytes } = await writer.addStream(ctx, whileHeld(lock, body), meta?.inPlace);
  return { content: ids, bytes };
}

/** Of parts of earlier points, each component of which is opened once. */
function sourcesOf(repository: Repository): (ctx: Context, from: PartRef) => Promise<TreeSource> {
  const sources = new Map<string, Promise<TreeSource>>();
  return (ctx, { point, component }) => {
    const key = `${point}/${component}`;
    let source = sources.get(key);
    if (!source) sources.set(key, (source = componentSource(ctx, repository, point, component)));
    return source;
  };
}

/** A stream may take hours: it ends as soon as it is known that others may delete what it counts on. */
async function* whileHeld(lock: Lock, body: Bytes): Bytes {
  for await (const chunk of body) {
    lock.assertNotLost();
    yield chunk;
  }
}

/** Of the ids that lie one after another in a list of content. */
function everyId(content: Buffer, test: (id: Buffer) => boolean): boolean {
  for (let at = 0; at < content.length; at += 32) if (!test(content.subarray(at, at + 32))) return false;
  return true;
}

function assertName(name: string, closed: boolean): void {
  assert(!closed, 'no part comes after the receipt');
  const impossible = /(?:^|\/)\.{0,2}(?:\/|$)|\0/.test(name) || Buffer.byteLength(name) > NAME_BYTES_MAX;
  if (impossible || !name.isWellFormed()) assert.fail(`${JSON.stringify(name)} is no name for a part`);
}
