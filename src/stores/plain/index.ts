// Reads the index of a component: sorted, so a name is found by a jump into it however many parts there are.

import { byteOrder, linesOf, measured, readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { type Entry, parseEntry } from './entries.ts';
import { indexKey } from './keys.ts';

/** What the manifest says of an index. */
export interface IndexProof {
  readonly bytes: number;
  readonly sha256: string;
}

export interface PartIndex {
  /** In byte order of name, from the first name that is not before `from`. */
  entries(ctx: Context, from?: string): AsyncIterable<Entry>;
  find(ctx: Context, name: string): Promise<Entry | null>;
}

/** A jump mark every so many lines: 4 000 of them for a million parts. */
const LINES_PER_BLOCK = 256;
/** An index up to this size is held; of a larger one, blocks are read again when they are needed. */
const HELD_BYTES_MAX = 8 * 1024 * 1024;
const BLOCKS_HELD_MAX = 16;

interface Block {
  readonly first: string;
  readonly offset: number;
  bytes: number;
}

/** Reads the whole index once: 'checksum' unless it is what the manifest says. */
export async function openIndex(
  ctx: Context,
  bucket: Bucket,
  place: { readonly point: string; readonly component: string },
  proof: IndexProof,
): Promise<PartIndex> {
  const key = indexKey(place.point, place.component);
  const where = `${place.point}/${place.component}`;
  const blocks = await readBlocks(ctx, bucket, key, where, proof);
  const fetched = new Map<Block, Promise<readonly Entry[]>>();

  function blockEntries(at: Context, block: Block): Promise<readonly Entry[]> {
    let entries = fetched.get(block);
    if (!entries) {
      entries = readBlock(at, bucket, key, where, block);
      entries.catch(() => fetched.delete(block)); // thrown to whoever asked; asked again, it is read again
      fetched.set(block, entries);
      const [oldest] = fetched.keys();
      if (oldest && fetched.size > BLOCKS_HELD_MAX && proof.bytes > HELD_BYTES_MAX) fetched.delete(oldest);
    }
    return entries;
  }
  return {
    async *entries(at, from = '') {
      for (let i = blockFor(blocks, from); i < blocks.length; i += 1) {
        const block = blocks[i];
        if (!block) return;
        for (const entry of await blockEntries(at, block)) if (byteOrder(entry.name, from) >= 0) yield entry;
      }
    },
    async find(at, name) {
      const block = blocks[blockFor(blocks, name)];
      return (block && (await blockEntries(at, block)).find((entry) => entry.name === name)) ?? null;
    },
  };
}

async function readBlocks(
  ctx: Context,
  bucket: Bucket,
  key: string,
  where: string,
  proof: IndexProof,
): Promise<readonly Block[]> {
  const stored = measured(bucket.get(ctx, key));
  const blocks: Block[] = [];
  let lines = 0;
  let offset = 0;
  try {
    for await (const line of linesOf(stored.body)) {
      if (lines % LINES_PER_BLOCK === 0) blocks.push({ first: parseEntry(line, where).name, offset, bytes: 0 });
      const block = blocks.at(-1);
      const bytes = Buffer.byteLength(line) + 1;
      if (block) block.bytes += bytes;
      lines += 1;
      offset += bytes;
    }
  } catch (cause) {
    if (cause instanceof Failure && cause.code !== 'malformed') throw cause;
    throw changed(where, cause);
  }
  const { bytes, sha256 } = stored.sum();
  if (bytes !== proof.bytes || sha256 !== proof.sha256) throw changed(where);
  return blocks;
}

async function readBlock(
  ctx: Context,
  bucket: Bucket,
  key: string,
  where: string,
  { offset, bytes }: Block,
): Promise<readonly Entry[]> {
  const body: Bytes = bucket.get(ctx, key, { offset, length: bytes });
  const text = (await readAll(body)).toString('utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => parseEntry(line, where));
}

/** The last block that begins at or before `name`. */
function blockFor(blocks: readonly Block[], name: string): number {
  let [low, high] = [0, blocks.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (byteOrder(blocks[middle]?.first ?? '', name) <= 0) low = middle;
    else high = middle;
  }
  return low;
}

function changed(where: string, cause?: unknown): Failure {
  return new Failure('checksum', `the part list of ${where} is not the one that was committed`, { cause });
}
