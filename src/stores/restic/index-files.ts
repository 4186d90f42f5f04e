// The index files of a repository: loaded into one blob index, written along the way while packs are stored.

import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context, ObjectInfo } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { getNamed, isId, listNamed, putNamed, shaped, type Vault } from './documents.ts';
import { type BlobIndex, blobIndex, type PackedBlob } from './index.ts';
import { headerBytes, openHeader } from './pack.ts';

const LOADS_MAX = 4; // each may take some ten MiB while it is parsed
const HEADERS_MAX = 8;
const BLOBS_PER_FILE_MAX = 50_000;
/** An interrupted run loses at most so much of what it has stored. */
const UNSAVED_PACKS_MAX = 256;
const UNSAVED_MS_MAX = 5 * 60_000;
const HEADER_READ_BYTES = 64 * 1024;

const id = z.string().refine(isId);
const u32 = z.int().min(0).max(0xffffffff);
const blobSchema = z.object({
  id,
  type: z.enum(['data', 'tree']),
  offset: u32,
  length: u32,
  uncompressed_length: u32.default(0),
});
const indexSchema = z.object({ packs: z.array(z.object({ id, blobs: z.array(blobSchema) })).nullable() });
type IndexJson = z.input<typeof indexSchema>;

export interface PackList {
  readonly id: string;
  readonly blobs: readonly PackedBlob[];
}
export interface Indexes {
  readonly blobs: BlobIndex;
  /** Takes in what others have written, and forgets packs that no index file names any more. */
  refresh(ctx: Context): Promise<void>;
  /** The packs that each file names. */
  files(): ReadonlyMap<string, readonly string[]>;
  /** All that are named, and those that the next file will name. */
  packs(): ReadonlySet<string>;
  /** Files that can't be read, and why. What they said is read from the packs themselves instead. */
  setAside(): ReadonlyMap<string, string>;
  /** A pack was stored: it is entered into an index file, at the latest by the next `save`. */
  stored(ctx: Context, pack: PackList): Promise<void>;
  /** When it resolves, an index file names every pack that was stored before. */
  save(ctx: Context): Promise<void>;
}

export function indexFiles(vault: Vault): Indexes {
  const blobs = blobIndex();
  const files = new Map<string, readonly string[]>();
  const setAside = new Map<string, string>();
  let unsaved: PackList[] = [];
  let unsavedSince = 0;
  let queue: Promise<void> = Promise.resolve();

  async function load(ctx: Context, file: string): Promise<void> {
    try {
      const json = shaped(indexSchema, await getNamed(ctx, vault, 'index', file), `index/${file}`);
      const named = json.packs ?? [];
      for (const pack of named) blobs.add(pack.id, pack.blobs.map(blobOf));
      files.set(
        file,
        named.map((pack) => pack.id),
      );
    } catch (error) {
      if (isFailure(error, 'missing')) return; // replaced since it was listed: what replaces it is listed next time
      if (!isFailure(error, 'checksum') && !isFailure(error, 'malformed')) throw error;
      setAside.set(file, messageOf(error));
      ctx.log.warn('an index file was set aside; the packs are read instead', { file, error: messageOf(error) });
    }
  }

  const packs = (): Set<string> => new Set([...files.values(), unsaved.map((pack) => pack.id)].flat());

  async function refresh(ctx: Context): Promise<void> {
    const listed = new Set<string>();
    for await (const file of listNamed(ctx, vault.bucket, 'index')) listed.add(file);
    const fresh = [...listed].filter((file) => !files.has(file) && !setAside.has(file));
    await mapBounded(fresh, LOADS_MAX, (file) => load(ctx, file));
    const isAnyBad = fresh.some((file) => setAside.has(file));
    const vanished = [...files].filter(([file]) => !listed.has(file) && !fresh.includes(file));
    for (const [file] of vanished) files.delete(file);
    for (const file of setAside.keys()) if (!listed.has(file)) setAside.delete(file);
    if (vanished.length > 0) {
      const named = packs();
      for (const pack of vanished.flatMap(([, lost]) => lost)) if (!named.has(pack)) blobs.forget(pack);
    }
    if (!isAnyBad) return;
    // What they said is read from the packs, and the next index that is written has it again.
    for (const pack of await orphanPacks(ctx, vault, blobs)) {
      blobs.add(pack.id, pack.blobs);
      enter(ctx, pack);
    }
  }

  function enter(ctx: Context, pack: PackList): void {
    if (unsaved.length === 0) unsavedSince = ctx.now().getTime();
    unsaved.push(pack);
  }

  async function saveNow(ctx: Context): Promise<void> {
    for (const batch of batches(unsaved)) {
      const file = await putNamed(ctx, vault, 'index', indexJson(batch));
      files.set(
        file,
        batch.map((pack) => pack.id),
      );
      const saved = new Set(batch);
      unsaved = unsaved.filter((pack) => !saved.has(pack));
    }
  }
  function save(ctx: Context): Promise<void> {
    const turn = queue.then(() => saveNow(ctx));
    queue = turn.catch(() => {}); // its caller hears of it; what was not saved still waits for the next one
    return turn;
  }

  return {
    blobs,
    refresh,
    files: () => files,
    packs,
    setAside: () => setAside,
    async stored(ctx, pack) {
      enter(ctx, pack);
      const isDue = unsaved.length >= UNSAVED_PACKS_MAX || ctx.now().getTime() - unsavedSince > UNSAVED_MS_MAX;
      if (isDue) await save(ctx);
    },
    save,
  };
}

/** Puts index files that name `packs`, whatever else there is. */
export async function putIndexes(ctx: Context, vault: Vault, packs: Iterable<PackList>): Promise<void> {
  for (const batch of batches(packs)) await putNamed(ctx, vault, 'index', indexJson(batch));
}

/** The pack that an object below data/ is, or null. */
export function packOfKey(key: string): string | null {
  const [, folder, name] = /^data\/([0-9a-f]{2})\/([0-9a-f]{64})$/.exec(key) ?? [];
  return name && name.slice(0, 2) === folder ? name : null;
}

/** The packs that no readable index names, by their own headers. */
async function orphanPacks(ctx: Context, vault: Vault, blobs: BlobIndex): Promise<PackList[]> {
  const orphans: { id: string; object: ObjectInfo }[] = [];
  for await (const object of vault.bucket.list(ctx, 'data/')) {
    const id = packOfKey(object.key);
    if (id && !blobs.hasPack(id)) orphans.push({ id, object });
  }
  const packs = await mapBounded(orphans, HEADERS_MAX, async ({ id, object }) => ({
    id,
    blobs: await blobsIn(ctx, vault, object),
  }));
  return packs.filter((pack) => pack.blobs.length > 0);
}

/** What the pack itself says that it holds; nothing when it can't be read. */
async function blobsIn(ctx: Context, vault: Vault, object: ObjectInfo): Promise<readonly PackedBlob[]> {
  const tail = (bytes: number): Promise<Buffer> => {
    const length = Math.min(bytes, object.bytes);
    return readAll(vault.bucket.get(ctx, object.key, { offset: object.bytes - length, length }));
  };
  try {
    let end = await tail(HEADER_READ_BYTES);
    if (headerBytes(end) > end.length) end = await tail(headerBytes(end));
    return openHeader(vault.key, end, object.bytes);
  } catch (error) {
    if (isFailure(error, 'checksum') || isFailure(error, 'missing') || error instanceof RangeError) return [];
    throw error;
  }
}

function* batches(packs: Iterable<PackList>): Iterable<PackList[]> {
  let batch: PackList[] = [];
  let blobs = 0;
  for (const pack of packs) {
    batch.push(pack);
    blobs += pack.blobs.length;
    if (blobs < BLOBS_PER_FILE_MAX) continue;
    yield batch;
    batch = [];
    blobs = 0;
  }
  if (batch.length > 0) yield batch;
}

function indexJson(packs: readonly PackList[]): IndexJson {
  return {
    packs: packs.map((pack) => ({
      id: pack.id,
      blobs: pack.blobs.map((blob) => ({
        id: Buffer.from(blob.id).toString('hex'),
        type: blob.tree ? 'tree' : 'data',
        offset: blob.offset,
        length: blob.length,
        ...(blob.uncompressedLength > 0 ? { uncompressed_length: blob.uncompressedLength } : {}),
      })),
    })),
  };
}

function blobOf(json: z.output<typeof blobSchema>): PackedBlob {
  return {
    id: Buffer.from(json.id, 'hex'),
    tree: json.type === 'tree',
    offset: json.offset,
    length: json.length,
    uncompressedLength: json.uncompressed_length,
  };
}
