// The index files of a repository: loaded into one blob index, written along the way while packs are stored.

import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { gate, mapBounded } from '../../core/parallel.ts';
import type { Bucket, ObjectInfo } from '../../core/storage.ts';
import { getNamed, isId, putNamed, type Vault } from './documents.ts';
import { type BlobIndex, blobIndex, type PackedBlob } from './index.ts';
import { headerBytes, openHeader } from './pack.ts';

/** A large file takes some ten times its size while it is parsed, a small one is mostly waited for. */
const LARGE_BYTES = 256 * 1024;
const LARGE_LOADS_MAX = 2;
const SMALL_LOADS_MAX = 16;
const HEADERS_MAX = 8;
const BLOBS_PER_FILE_MAX = 50_000;
/** An interrupted run loses at most so much of what it has stored. */
const UNSAVED_PACKS_MAX = 256;
const UNSAVED_MS_MAX = 5 * 60_000;
const HEADER_READ_BYTES = 64 * 1024;

interface IndexJson {
  packs: {
    id: string;
    blobs: { id: string; type: 'data' | 'tree'; offset: number; length: number; uncompressed_length?: number }[];
  }[];
}

export interface PackList {
  readonly id: string;
  readonly blobs: readonly PackedBlob[];
}
export interface Indexes {
  readonly blobs: BlobIndex;
  /** Takes in what others have written, and drops packs that no index file names any more. */
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
  const unsaved = unsavedPacks(vault, (file, packs) => void files.set(file, packs));
  const packs = (): Set<string> => new Set([...files.values(), unsaved.ids()].flat());
  const turns = gate(1); // two refreshes at once would read the same files, and one might enter what the other drops

  /** Adds the file to `gone` when it was replaced since it was listed. */
  async function load(ctx: Context, file: string, gone: Set<string>): Promise<void> {
    try {
      const named = packsOf(await getNamed(ctx, vault, 'index', file), `index/${file}`);
      for (const pack of named) blobs.add(pack.id, pack.blobs);
      files.set(file, idsOf(named));
    } catch (error) {
      if (isFailure(error, 'missing')) return void gone.add(file);
      if (!isFailure(error, 'checksum') && !isFailure(error, 'malformed')) throw error;
      setAside.set(file, messageOf(error));
      ctx.log.warn('an index file was set aside; the packs are read instead', { file, error: messageOf(error) });
    }
  }

  async function loadFresh(ctx: Context, listed: ReadonlyMap<string, number>, gone: Set<string>): Promise<void> {
    const fresh = [...listed].filter(([file]) => !files.has(file) && !setAside.has(file));
    const large = fresh.filter(([, bytes]) => bytes > LARGE_BYTES);
    const small = fresh.filter(([, bytes]) => bytes <= LARGE_BYTES);
    await mapBounded(large, LARGE_LOADS_MAX, ([file]) => load(ctx, file, gone));
    await mapBounded(small, SMALL_LOADS_MAX, ([file]) => load(ctx, file, gone));
  }

  /** Drops what only those of the `known` files named that are not listed any more. */
  function dropVanished(known: ReadonlyMap<string, readonly string[]>, listed: ReadonlyMap<string, number>): void {
    for (const file of setAside.keys()) if (!listed.has(file)) setAside.delete(file);
    const vanished = [...known].filter(([file]) => !listed.has(file));
    for (const [file] of vanished) files.delete(file);
    if (vanished.length === 0) return;
    const named = packs();
    for (const pack of vanished.flatMap(([, lost]) => lost)) if (!named.has(pack)) blobs.drop(pack);
  }

  async function refresh(ctx: Context): Promise<void> {
    const asideBefore = new Set(setAside.keys());
    const gone = new Set<string>();
    for (let goneBefore = -1; gone.size > goneBefore; ) {
      goneBefore = gone.size; // what replaces a file that is gone is in the next listing
      const known = new Map(files); // one that is saved from now on may be too new for the listing
      const listed = await listedFiles(ctx, vault.bucket);
      await loadFresh(ctx, listed, gone);
      dropVanished(known, listed);
    }
    if ([...setAside.keys()].every((file) => asideBefore.has(file))) return;
    // What they said is read from the packs, and the next index that is written has it again.
    for (const pack of await orphanPacks(ctx, vault, packs())) {
      blobs.add(pack.id, pack.blobs);
      unsaved.enter(ctx, pack);
    }
  }

  return {
    blobs,
    refresh: (ctx) => turns.run(() => refresh(ctx)),
    files: () => files,
    packs,
    setAside: () => setAside,
    async stored(ctx, pack) {
      unsaved.enter(ctx, pack);
      if (unsaved.isDue(ctx)) await unsaved.save(ctx);
    },
    save: unsaved.save,
  };
}

interface UnsavedPacks {
  ids(): string[];
  enter(ctx: Context, pack: PackList): void;
  isDue(ctx: Context): boolean;
  save(ctx: Context): Promise<void>;
}

function unsavedPacks(vault: Vault, saved: (file: string, packs: readonly string[]) => void): UnsavedPacks {
  let waiting: PackList[] = [];
  let blobs = 0; // of those that wait: 250 bytes of memory each
  let since = 0;
  let queue: Promise<void> = Promise.resolve();

  async function saveNow(ctx: Context): Promise<void> {
    for (const batch of batches(waiting)) {
      saved(await putNamed(ctx, vault, 'index', indexJson(batch)), idsOf(batch));
      const done = new Set(batch);
      waiting = waiting.filter((pack) => !done.has(pack));
      for (const pack of batch) blobs -= pack.blobs.length;
    }
  }
  return {
    ids: () => idsOf(waiting),
    enter(ctx, pack) {
      if (waiting.length === 0) since = ctx.now().getTime();
      waiting.push(pack);
      blobs += pack.blobs.length;
    },
    isDue: (ctx) =>
      waiting.length >= UNSAVED_PACKS_MAX ||
      blobs >= BLOBS_PER_FILE_MAX ||
      ctx.now().getTime() - since > UNSAVED_MS_MAX,
    save(ctx) {
      const turn = queue.then(() => saveNow(ctx));
      queue = turn.catch(() => {}); // its caller hears of it; what was not saved still waits for the next one
      return turn;
    },
  };
}

function idsOf(packs: readonly { readonly id: string }[]): string[] {
  return packs.map((pack) => pack.id);
}

/** Index files and their bytes. */
async function listedFiles(ctx: Context, bucket: Bucket): Promise<Map<string, number>> {
  const listed = new Map<string, number>();
  for await (const { key, bytes } of bucket.list(ctx, 'index/')) {
    const file = key.slice('index/'.length);
    if (isId(file)) listed.set(file, bytes);
  }
  return listed;
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
async function orphanPacks(ctx: Context, vault: Vault, named: ReadonlySet<string>): Promise<PackList[]> {
  const orphans: { id: string; object: ObjectInfo }[] = [];
  for await (const object of vault.bucket.list(ctx, 'data/')) {
    const id = packOfKey(object.key);
    if (id && !named.has(id)) orphans.push({ id, object });
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

/** By hand: there are millions of blobs, and a schema takes longer than all the rest. */
function packsOf(json: unknown, what: string): PackList[] {
  const malformed = (): Failure => new Failure('malformed', `${what} is not what it should be`);
  const packs = isObject(json) ? json.packs : undefined;
  if (packs === null) return [];
  if (!Array.isArray(packs)) throw malformed();
  return packs.map((pack: unknown) => {
    if (!isObject(pack) || !isIdText(pack.id) || !Array.isArray(pack.blobs)) throw malformed();
    const blobs = pack.blobs.map(blobOf);
    if (!blobs.every((blob) => blob !== null)) throw malformed();
    return { id: pack.id, blobs };
  });
}

function blobOf(json: unknown): PackedBlob | null {
  if (!isObject(json)) return null;
  const { id, type, offset, length, uncompressed_length: uncompressedLength = 0 } = json;
  const isRight =
    isIdText(id) && (type === 'data' || type === 'tree') && isU32(offset) && isU32(length) && isU32(uncompressedLength);
  return isRight ? { id: Buffer.from(id, 'hex'), tree: type === 'tree', offset, length, uncompressedLength } : null;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
function isIdText(value: unknown): value is string {
  return typeof value === 'string' && isId(value);
}
function isU32(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}
