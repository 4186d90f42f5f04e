// Where the parts of one component go.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { wholeOf } from '../../core/bytes.ts';
import type { Bytes, Context, FileAttributes, Json, Part, PartRef, Receipt, Sink } from '../../core/model.ts';
import { CHUNK_BYTES_MIN } from './chunker.ts';
import { shaped } from './documents.ts';
import type { Lock } from './locks.ts';
import { componentSource } from './points.ts';
import type { Repository } from './repository.ts';
import { digestOf, type TreeSource } from './source.ts';
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
    return {
      name,
      bytes: part.bytes,
      digest: digestOf(part.content),
      point,
      component,
      ...(attributes ? { attributes } : {}),
    };
  }

  async function write(ctx: Context, body: Bytes): Promise<{ content: Buffer; bytes: number }> {
    if (lock.isDue(ctx)) await lock.touch(ctx);
    const whole = wholeOf(body);
    if (whole && whole.length > 0 && whole.length < CHUNK_BYTES_MIN) {
      return { content: await writer.addBlob(ctx, 'data', whole), bytes: whole.length };
    }
    const { ids, bytes: length } = await writer.addStream(ctx, whileHeld(lock, body));
    return { content: ids, bytes: length };
  }

  async function sourceOf(ctx: Context, from: PartRef): Promise<TreeSource> {
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
      const isThere = everyId(content, (id) => repository.indexes.blobs.has(id, false));
      const part = isThere ? { content, bytes: length } : await write(ctx, source.get(ctx, from.name));
      return await enter(ctx, name, part, meta?.attributes);
    },
    async receipt(ctx) {
      assert(!closed, 'a receipt is given once');
      closed = true;
      const tree = await writeTree(ctx, writer, spool.sorted());
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
