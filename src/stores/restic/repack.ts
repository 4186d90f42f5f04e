// Moves the blobs that are still needed out of packs that mostly hold rubbish. Sealed blobs are moved as they are.

import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { sealInto, sha256 } from './crypto.ts';
import type { PackedBlob } from './index.ts';
import {
  BLOB_BYTES_MAX,
  checkPack,
  encodeHeader,
  HEADER_ENTRY_BYTES,
  openBlob,
  PACK_BYTES_MAX,
  PACK_FRAME_BYTES,
  packKey,
} from './pack.ts';
import type { Repository } from './repository.ts';

/**
 * Copies the needed entries of `packs` into new packs, and an index that names these is stored when it resolves.
 * Returns the packs that hold nothing needed any more; one with a needed blob that can't be read is left as it is.
 */
export async function repack(
  ctx: Context,
  repository: Repository,
  packs: readonly string[],
  isNeeded: (entry: number) => boolean,
): Promise<string[]> {
  const filling = { data: openPack(ctx, repository), tree: openPack(ctx, repository) };
  const emptied: string[] = [];
  for (const [at, pack] of packs.entries()) {
    ctx.progress({ task: repository.url, phase: 'rewrite', items: at, itemsTotal: packs.length });
    const blobs = await neededBlobs(ctx, repository, pack, isNeeded);
    if (!blobs) continue;
    for (const { blob, sealed } of blobs) await filling[blob.tree ? 'tree' : 'data'].add(blob, sealed);
    emptied.push(pack);
  }
  await filling.data.finish();
  await filling.tree.finish();
  await repository.indexes.save(ctx);
  return emptied;
}

/** Undefined when one of them is damaged. */
async function neededBlobs(
  ctx: Context,
  { vault, indexes }: Repository,
  pack: string,
  isNeeded: (entry: number) => boolean,
): Promise<{ blob: PackedBlob; sealed: Buffer }[] | undefined> {
  try {
    const data = await readAll(vault.bucket.get(ctx, packKey(pack)), 2 * BLOB_BYTES_MAX);
    return [...indexes.blobs.entriesOf(pack)].filter(isNeeded).map((entry) => {
      const place = indexes.blobs.placeAt(entry);
      const blob = { ...place, id: indexes.blobs.idAt(entry) };
      const sealed = data.subarray(place.offset, place.offset + place.length);
      openBlob(vault.key, sealed, blob, () => {});
      return { blob, sealed };
    });
  } catch (error) {
    if (!isFailure(error, 'checksum')) throw error;
    ctx.log.warn('a pack is damaged and was left as it is', { pack, error: messageOf(error) });
    return undefined;
  }
}

interface OpenPack {
  add(blob: PackedBlob, sealed: Buffer): Promise<void>;
  finish(): Promise<void>;
}

function openPack(ctx: Context, repository: Repository): OpenPack {
  let pieces: Buffer[] = [];
  let blobs: PackedBlob[] = [];
  let used = 0;

  async function finish(): Promise<void> {
    if (blobs.length === 0) return;
    const header = encodeHeader(blobs);
    const end = Buffer.alloc(header.length + PACK_FRAME_BYTES);
    const sealedBytes = sealInto(repository.vault.key, header, end, 0);
    end.writeUInt32LE(sealedBytes, sealedBytes);
    const data = Buffer.concat([...pieces, end]);
    const id = sha256(data);
    const [damage] = checkPack(repository.vault.key, data, id).damages;
    if (damage) throw new Failure('checksum', `a pack can't be read back before it is stored: ${damage.reason}`);
    const pack = { id: id.toString('hex'), blobs };
    await repository.vault.bucket.put(ctx, packKey(pack.id), data);
    repository.indexes.blobs.add(pack.id, blobs);
    await repository.indexes.stored(ctx, pack);
    pieces = [];
    blobs = [];
    used = 0;
  }

  return {
    finish,
    async add({ id, tree, length, uncompressedLength }, sealed) {
      if (used > 0 && used + length + HEADER_ENTRY_BYTES > PACK_BYTES_MAX) await finish();
      blobs.push({ id, tree, offset: used, length, uncompressedLength });
      pieces.push(Buffer.from(sealed)); // the pack that it came from is not kept for it
      used += length;
    },
  };
}
