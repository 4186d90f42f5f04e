// Gzip on several cores, as a chain of members that every gunzip reads as one file.

import { availableParallelism } from 'node:os';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip, gunzip, gzip } from 'node:zlib';
import { releaseLarge } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';

const BLOCK_BYTES = 1024 * 1024;
/** Node compresses on its four pool threads, which the file system shares. */
const BLOCKS_AT_ONCE = Math.min(Math.max(availableParallelism(), 2), 4);
/** Node's zlib at 4 makes files 1 % larger than gzip's at 6, in two thirds of the time that its own 6 takes. */
const LEVEL = 4;
/** Most members fit into one such piece, freed with them; of several, each would be left to the collector. */
const PIECE_BYTES = 384 * 1024;
/** Documents of a search index become 6 % larger than at 4, in less than two thirds of the time. */
const LEVEL_QUICK = 2;

const compress = promisify(gzip) as (data: Buffer, options: object) => Promise<Buffer>;
const decompress = promisify(gunzip) as (data: Buffer, options: object) => Promise<Buffer>;

/** Each member is unpacked and compared before it is passed on: success means readable. */
export async function* gzipped(body: Bytes, { quick = false }: { readonly quick?: boolean | undefined } = {}): Bytes {
  const level = quick ? LEVEL_QUICK : LEVEL;
  const members: Promise<Buffer>[] = [];
  const free: Buffer[] = [];
  const begin = (block: Buffer, filled: number): void => {
    const job = member(block.subarray(0, filled), level).finally(() => free.push(block));
    job.catch(() => undefined); // thrown where it is awaited, in order
    members.push(job);
  };
  async function* finished(left: number): Bytes {
    while (members.length > left) {
      const packed = await (members.shift() as Promise<Buffer>);
      yield packed;
      releaseLarge(packed);
    }
  }
  try {
    let block: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    let filled = 0;
    let any = false;
    for await (const chunk of body) {
      for (let at = 0; at < chunk.length; ) {
        const taken = chunk.subarray(at, at + BLOCK_BYTES - filled);
        block.set(taken, filled);
        at += taken.length;
        filled += taken.length;
        if (filled < BLOCK_BYTES) continue;
        any = true;
        begin(block, filled);
        yield* finished(BLOCKS_AT_ONCE);
        block = free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
        filled = 0;
      }
    }
    if (filled > 0 || !any) begin(block, filled);
    yield* finished(0);
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

async function member(block: Buffer, level: number): Promise<Buffer> {
  const packed = await compress(block, { level, chunkSize: PIECE_BYTES });
  // A little more than comes out: a buffer that is full makes it get another one.
  const again = await decompress(packed, { maxOutputLength: block.length + 1, chunkSize: block.length + 64 });
  const same = again.equals(block);
  releaseLarge(again);
  if (!same) throw new Failure('checksum', 'gzip did not give back what it was given');
  return packed;
}

async function* ownChunks(body: Bytes, failed: (error: unknown) => void): AsyncIterable<Buffer> {
  try {
    for await (const chunk of body) yield Buffer.from(chunk);
  } catch (error) {
    failed(error);
    throw error;
  }
}
