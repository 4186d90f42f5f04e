import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';

/** A piece of an upload. It can be opened again when its upload is tried again. Disposing gives back its place. */
export interface Part extends AsyncDisposable {
  readonly number: number; // from 1
  readonly bytes: number;
  readonly sha256: string; // base64, as S3 wants it
  open(): Uint8Array | Readable;
}

/** So many parts are sent from memory; the large ones, of a stream over 94 GiB, from a scratch file. */
export interface PartSizes {
  readonly memoryParts: number;
  readonly memoryBytes: number;
  readonly scratchBytes: number;
}
const MIB = 1024 * 1024;
export const PARTS_MAX = 10_000;
/** 6000 × 16 MiB + 4000 × 1.3 GiB: more than the 5 TiB that an object may have. */
export const PART_SIZES: PartSizes = { memoryParts: 6_000, memoryBytes: 16 * MIB, scratchBytes: 1_331 * MIB };
const FIRST_BYTES = 64 * 1024;

interface Filling {
  /** Takes all of `chunk`. */
  write(chunk: Uint8Array): Promise<void>;
  finish(number: number): Promise<Part>;
  /** Gives up: nothing stays behind. */
  drop(): Promise<void>;
}

/** Cuts a stream into parts, all but the last of full size; an empty stream has one empty part. */
export async function* partsOf(ctx: Context, body: Bytes, sizes: PartSizes = PART_SIZES): AsyncIterable<Part> {
  // Buffers whose parts are sent are filled again: new ones would pile up faster than they are collected.
  const spare: Buffer[] = [];
  let number = 1;
  let used = 0;
  let filling: Filling | undefined;
  try {
    for await (const chunk of body) {
      ctx.signal.throwIfAborted();
      for (let at = 0; at < chunk.length; ) {
        const size = number <= sizes.memoryParts ? sizes.memoryBytes : sizes.scratchBytes;
        filling ??= await begin(ctx, number, sizes, spare);
        const piece = chunk.subarray(at, at + size - used);
        await filling.write(piece);
        at += piece.length;
        used += piece.length;
        if (used < size) continue;
        yield await filling.finish(number);
        filling = undefined;
        number += 1;
        used = 0;
      }
    }
    if (number === 1) filling ??= memoryPart(Buffer.alloc(0), spare);
    if (filling) yield await filling.finish(number);
  } finally {
    await filling?.drop();
  }
}

async function begin(ctx: Context, number: number, sizes: PartSizes, spare: Buffer[]): Promise<Filling> {
  if (number > sizes.memoryParts) return await scratchPart(ctx);
  if (number === 1) return memoryPart(Buffer.allocUnsafe(Math.min(FIRST_BYTES, sizes.memoryBytes)), spare);
  return memoryPart(spare.pop() ?? Buffer.allocUnsafe(sizes.memoryBytes), spare);
}

function memoryPart(buffer: Buffer, spare: Buffer[]): Filling {
  let held = buffer;
  let used = 0;
  return {
    async write(chunk) {
      if (used + chunk.length > held.length) {
        const larger = Buffer.allocUnsafe(Math.max(held.length * 4, used + chunk.length));
        held.copy(larger, 0, 0, used);
        held = larger;
      }
      held.set(chunk, used);
      used += chunk.length;
    },
    async finish(number) {
      const data = held.subarray(0, used);
      const sha256 = createHash('sha256').update(data).digest('base64');
      const dispose = async (): Promise<void> => void (number > 1 && spare.push(held));
      return { number, bytes: used, sha256, open: () => data, [Symbol.asyncDispose]: dispose };
    },
    async drop() {},
  };
}

async function scratchPart(ctx: Context): Promise<Filling> {
  const path = join(ctx.scratch, `part-${randomUUID()}`);
  const file = await open(path, 'wx', 0o600);
  const hash = createHash('sha256');
  let used = 0;
  let finished = false;
  const drop = async (): Promise<void> => await rm(path, { force: true });
  return {
    async write(chunk) {
      hash.update(chunk);
      try {
        for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten;
      } catch (cause) {
        const code = systemCode(cause) === 'ENOSPC' ? 'no-space' : 'unreachable';
        throw new Failure(code, `writing a part of an upload to ${ctx.scratch}: ${systemCode(cause)}`, { cause });
      }
      used += chunk.length;
    },
    async finish(number) {
      finished = true;
      await file.close();
      const sha256 = hash.digest('base64');
      return { number, bytes: used, sha256, open: () => createReadStream(path), [Symbol.asyncDispose]: drop };
    },
    async drop() {
      if (finished) return;
      await file.close();
      await drop();
    },
  };
}
