// Proves whole packs. In pieces, so that the threads share the last one, and nobody else waits for them long.

import type { Context } from '../../core/model.ts';
import { gate } from '../../core/parallel.ts';
import type { PackedBlob } from './index.ts';
import { openHeader, type PackCheck, type PackDamage } from './pack.ts';
import type { Pool } from './pool.ts';
import { budget } from './pool-budget.ts';
import { isDamage, type Reading, readInto } from './reader-blobs.ts';

/** Stock restic can be told to make packs of 128 MiB. */
const PACK_READ_BYTES_MAX = 192 * 1024 * 1024;
/** Of all packs together, but for one that alone takes more: three of ours are under way, of larger ones fewer. */
const PACKS_BYTES_MAX = 40 * 1024 * 1024;
const PIECE_BYTES_MAX = 1024 * 1024;
const PIECE_BLOBS_MAX = 512;

export interface PackChecks {
  /** Everything that is wrong with a pack of that size, as it was read once. The pack is in memory meanwhile. */
  tryPack(ctx: Context, pack: string, bytes: number): Promise<PackCheck>;
}

export function packChecks(reading: Reading, packsBytesMax = PACKS_BYTES_MAX): PackChecks {
  const { bucket, key, buffers, pool } = reading;
  // Of all packs together: what each thread works on, and one that is ready.
  const turns = gate(pool.size + 1);
  const memory = budget(packsBytesMax);
  async function check(ctx: Context, pack: string, bytes: number): Promise<PackCheck> {
    const buffer = buffers.take(bytes);
    try {
      await readInto(ctx, bucket, pack, { offset: 0, length: bytes }, buffer);
      const blobs = openHeader(key, Buffer.from(buffer, 0, bytes), bytes);
      const named = turns.run(() => damagedName(pool, pack, buffer, bytes));
      const opened = pieces(blobs).map((piece) => turns.run(() => damagedIn(ctx, pool, buffer, piece)));
      const works = [named, ...opened];
      await Promise.allSettled(works); // the buffer is nobody's then
      return { blobs, damages: (await Promise.all(works)).flat() };
    } catch (error) {
      if (!isDamage(error)) throw error;
      return unreadable(error.message);
    } finally {
      buffers.give(buffer);
    }
  }
  return {
    async tryPack(ctx, pack, bytes) {
      if (bytes > PACK_READ_BYTES_MAX) return unreadable(`its ${bytes} bytes are more than any pack has`);
      await memory.take(bytes);
      try {
        return await check(ctx, pack, bytes);
      } finally {
        memory.give(bytes);
      }
    },
  };
}

/** The pack is named after its bytes. */
async function damagedName(pool: Pool, pack: string, buffer: SharedArrayBuffer, bytes: number): Promise<PackDamage[]> {
  const { ids } = await pool.run('hash', { buffer, spans: Uint32Array.of(0, bytes) }, { cost: bytes });
  if (Buffer.from(ids).toString('hex') === pack) return [];
  return [{ blob: null, reason: 'its bytes are not those that it is named after' }];
}

async function damagedIn(
  ctx: Context,
  pool: Pool,
  buffer: SharedArrayBuffer,
  piece: readonly PackedBlob[],
): Promise<PackDamage[]> {
  ctx.signal.throwIfAborted();
  const job = {
    buffer,
    spans: Uint32Array.from(piece.flatMap(({ offset, length }) => [offset, length])),
    ids: Buffer.concat(piece.map(({ id }) => id)),
    uncompressed: Uint32Array.from(piece.map(({ uncompressedLength }) => uncompressedLength)),
    plain: null,
  };
  const cost = piece.reduce((sum, { length }) => sum + length, 0);
  const { damages } = await pool.run('open', job, { cost });
  return Array.from(damages, ([number, reason]) => ({ blob: piece[number] ?? null, reason }));
}

function pieces(blobs: readonly PackedBlob[]): PackedBlob[][] {
  const all: PackedBlob[][] = [];
  let piece: PackedBlob[] = [];
  let bytes = 0;
  for (const blob of blobs) {
    if (piece.length === PIECE_BLOBS_MAX || (piece.length > 0 && bytes + blob.length > PIECE_BYTES_MAX)) {
      all.push(piece);
      piece = [];
      bytes = 0;
    }
    piece.push(blob);
    bytes += blob.length;
  }
  if (piece.length > 0) all.push(piece);
  return all;
}

function unreadable(reason: string): PackCheck {
  return { blobs: [], damages: [{ blob: null, reason }] };
}
