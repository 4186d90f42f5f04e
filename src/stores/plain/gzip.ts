// Gzip on several cores, as a chain of members that every gunzip reads as one file.

import { availableParallelism } from 'node:os';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip, gunzip, gzip } from 'node:zlib';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';

const BLOCK_BYTES = 1024 * 1024;
/** Node compresses on its four pool threads, which the file system shares. */
const BLOCKS_AT_ONCE = Math.min(Math.max(availableParallelism(), 2), 4);
/** Node's zlib at 5 makes files as small as gzip's at 6. */
const LEVEL = 5;

const compress = promisify(gzip) as (data: Buffer, options: object) => Promise<Buffer>;
const decompress = promisify(gunzip) as (data: Buffer, options: object) => Promise<Buffer>;

/** Each member is unpacked and compared before it is passed on: success means readable. */
export async function* gzipped(body: Bytes): Bytes {
  const members: Promise<Buffer>[] = [];
  try {
    let any = false;
    for await (const block of blocksOf(body)) {
      any = true;
      const job = member(block);
      job.catch(() => undefined); // thrown where it is awaited, in order
      members.push(job);
      if (members.length > BLOCKS_AT_ONCE) yield await next(members);
    }
    if (!any) yield await member(Buffer.alloc(0));
    while (members.length > 0) yield await next(members);
  } finally {
    await Promise.allSettled(members);
  }
}

/**
 * Reads any gzip file, of one member or many. More than `bytesMax` is refused as it comes; what is cut short or changed
 * is 'checksum'.
 */
export async function* gunzipped(body: Bytes, what: string, bytesMax = Number.MAX_SAFE_INTEGER): Bytes {
  const inflate = createGunzip({ chunkSize: 256 * 1024 });
  let broken: { error: unknown } | undefined;
  const source = Readable.from(
    ownChunks(body, (error) => (broken = { error })),
    { objectMode: true },
  );
  const fed = pipeline(source, inflate);
  fed.catch(() => undefined); // the same error ends the loop below
  let bytes = 0;
  try {
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw new Failure('checksum', `${what} unpacks to more than the ${bytesMax} bytes it had`);
      yield chunk;
    }
    await fed;
  } catch (cause) {
    if (broken) throw broken.error;
    if (cause instanceof Failure) throw cause;
    throw new Failure('checksum', `${what} is no whole gzip file`, { cause });
  } finally {
    inflate.destroy();
    source.destroy();
  }
}

async function next(members: Promise<Buffer>[]): Promise<Buffer> {
  const first = members.shift();
  if (!first) throw new Error('a member is waited for');
  return await first;
}

async function member(block: Buffer): Promise<Buffer> {
  const packed = await compress(block, { level: LEVEL, chunkSize: 256 * 1024 });
  const again = await decompress(packed, { maxOutputLength: block.length + 1, chunkSize: Math.max(block.length, 64) });
  if (!again.equals(block)) throw new Failure('checksum', 'gzip did not give back what it was given');
  return packed;
}

/** Blocks of full size with memory of their own: chunks are borrowed. */
async function* blocksOf(body: Bytes): AsyncIterable<Buffer> {
  let block = Buffer.allocUnsafe(BLOCK_BYTES);
  let filled = 0;
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length; ) {
      const take = Math.min(chunk.length - at, BLOCK_BYTES - filled);
      block.set(chunk.subarray(at, at + take), filled);
      at += take;
      filled += take;
      if (filled < BLOCK_BYTES) continue;
      yield block;
      block = Buffer.allocUnsafe(BLOCK_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

async function* ownChunks(body: Bytes, failed: (error: unknown) => void): AsyncIterable<Buffer> {
  try {
    for await (const chunk of body) yield Buffer.from(chunk);
  } catch (error) {
    failed(error);
    throw error;
  }
}
