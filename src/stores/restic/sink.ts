// Where the parts of one component go.

import assert from 'node:assert/strict';
import { z } from 'zod';
import type { Bytes, Context, FileAttributes, Json, Part, Receipt, Sink } from '../../core/model.ts';
import { sha256 } from './crypto.ts';
import { shaped } from './documents.ts';
import type { Lock } from './locks.ts';
import { componentSource } from './points.ts';
import type { Repository } from './repository.ts';
import type { TreeSource } from './source.ts';
import { partSpool } from './spool.ts';
import { writeTree } from './trees.ts';
import type { Writer } from './writer.ts';

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

export function componentSink(
  repository: Repository,
  { lock, writer }: { lock: Lock; writer: Writer },
  options: {
    readonly point: string;
    readonly component: string;
    /** Keeps the receipt for another process. */
    keep(ctx: Context, receipt: Receipt): Promise<void>;
  },
): Sink & AsyncDisposable {
  const { point, component } = options;
  const spool = partSpool();
  const sources = new Map<string, Promise<TreeSource>>();
  let parts = 0;
  let bytes = 0;
  let closed = false;

  async function enter(
    ctx: Context,
    name: string,
    part: { content: Buffer; bytes: number },
    attributes: FileAttributes | undefined,
  ): Promise<Part> {
    await spool.add(ctx, { name, ...part, attributes });
    parts += 1;
    bytes += part.bytes;
    const digest = `blobs:${sha256(part.content).toString('hex')}`;
    return { name, bytes: part.bytes, digest, point, component, ...(attributes ? { attributes } : {}) };
  }

  async function write(ctx: Context, body: Bytes): Promise<{ content: Buffer; bytes: number }> {
    await lock.touch(ctx);
    const { ids, bytes: length } = await writer.addStream(ctx, whileHeld(lock, body));
    return { content: ids, bytes: length };
  }

  async function sourceOf(ctx: Context, from: Part): Promise<TreeSource> {
    const key = `${from.point}/${from.component}`;
    let source = sources.get(key);
    if (!source) {
      source = componentSource(ctx, repository, from.point, from.component);
      sources.set(key, source);
    }
    return await source;
  }

  return {
    async put(ctx, name, body, meta) {
      assertName(name, closed);
      return await enter(ctx, name, await write(ctx, body), meta?.attributes);
    },
    async keep(ctx, name, from, meta) {
      assertName(name, closed);
      const source = await sourceOf(ctx, from);
      const { content, bytes: length } = await source.node(ctx, from.name);
      // What lies in a pack that is lost, or about to be deleted, is written once more.
      const isThere = idsOf(content).every((id) => repository.indexes.blobs.has(id, false));
      const part = isThere ? { content, bytes: length } : await write(ctx, source.get(ctx, from.name));
      return await enter(ctx, name, part, meta?.attributes);
    },
    async receipt(ctx) {
      assert(!closed, 'a receipt is given once');
      closed = true;
      const tree = await writeTree(ctx, writer, spool.sorted(ctx));
      await writer.flush(ctx);
      await repository.indexes.save(ctx);
      await lock.assertHeld(ctx);
      const receipt = { component, parts, bytes, proof: { tree: tree.toString('hex') } };
      await options.keep(ctx, receipt);
      return receipt;
    },
    [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
  };
}

/** A stream may take hours: it ends as soon as it is known that others may delete what it counts on. */
async function* whileHeld(lock: Lock, body: Bytes): Bytes {
  for await (const chunk of body) {
    lock.assertNotLost();
    yield chunk;
  }
}

/** The ids that lie one after another in a list of content. */
function idsOf(content: Buffer): Buffer[] {
  return Array.from({ length: content.length / 32 }, (_, i) => content.subarray(i * 32, i * 32 + 32));
}

function assertName(name: string, closed: boolean): void {
  assert(!closed, 'no part comes after the receipt');
  const segments = name.split('/');
  const impossible = segments.some((each) => each === '' || each === '.' || each === '..' || each.includes('\0'));
  assert(!impossible && name.isWellFormed(), `${JSON.stringify(name)} is a name for a part`);
  assert(Buffer.byteLength(name) <= NAME_BYTES_MAX, `${JSON.stringify(name)} is a name for a part`);
}
