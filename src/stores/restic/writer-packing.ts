// The half of the writer that knows no streams: what is new goes to the workers, and the packs that come back go to
// the bucket. It owns the budgets, the buffers, and the one failure that ends everything.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import type { MasterKey } from './crypto.ts';
import type { BlobIndex, PackedBlob } from './index.ts';
import { decodeHeader, packKey } from './pack.ts';
import type { FinishedPack } from './pack-builder.ts';
import { openPool, type Pool } from './pool.ts';
import { type Budget, budget } from './pool-budget.ts';
import { type Buffers, buffers, giveBack } from './pool-buffers.ts';
import { sharedTasks, type Tasks } from './writer-tasks.ts';

export interface StoredPack {
  readonly id: string; // hex
  readonly blobs: readonly PackedBlob[];
  readonly bytes: number;
}
export interface PackingOptions {
  readonly bucket: Bucket;
  readonly key: MasterKey;
  /** Asked for what is known already, and told of every pack that was stored. */
  readonly index: BlobIndex;
  /** zstd's; 0 stores data as it is. */
  readonly compressionLevel: number;
  /** The pack is stored and the index knows it. A failure here is a failure of the writer. */
  onPack(pack: StoredPack): void | Promise<void>;
}

/** Pieces that were claimed, with the ids of each. */
export interface NewPieces {
  readonly buffer: SharedArrayBuffer;
  readonly spans: Uint32Array; // offset and length of each
  readonly ids: Uint8Array;
  readonly tree: boolean;
  readonly bytes: number;
  readonly isPages?: boolean;
}
/** A piece that was cut out of a stream. */
export interface Chunk {
  readonly buffer: SharedArrayBuffer;
  readonly bytes: number;
  readonly isPages: boolean;
}

export interface Packing extends AsyncDisposable {
  readonly buffers: Buffers;
  /** Throws the failure that ended the writer, or that `ctx` was aborted. */
  assertAlive(ctx?: Context): void;
  /** True for the one who has to add the blob: it is neither stored nor on its way. */
  claim(id: Uint8Array, tree: boolean): boolean;
  /** Runs what was claimed for: a failure ends the writer, as what got into no pack would be taken for stored. */
  orEnd<R>(work: () => R): R;
  /** Waits until the workers can take so much more, which `addChunk` then does. */
  room(bytes: number): Promise<void>;
  /** Takes the buffer over. Resolves to the chunk's id as soon as that is known; storing goes on behind. */
  addChunk(chunk: Chunk): Promise<Uint8Array>;
  /** Takes the buffer over at once, and resolves when there was room for it; storing goes on behind. */
  add(pieces: NewPieces): Promise<void>;
  /** Resolves when all that was added before is stored. */
  flush(): Promise<void>;
}

/** Of the least buffer; chunks have 1 MiB on average. */
const BUFFER_BYTES = 1024 * 1024;
/** For each worker: what is in its hands and on the way to it. */
const AHEAD_BYTES = 3 * 1024 * 1024;
/** After so many chunks that were new, the next one is thought to be. */
const NEWS_MIN = 8;
/** Packs on their way to the bucket. */
const PUTS_MAX = 2;

export function startPacking(outer: Context, options: PackingOptions): Packing {
  const pool = openPool(options);
  const input = budget(AHEAD_BYTES * pool.size);
  const puts = budget(PUTS_MAX);
  const free = buffers(BUFFER_BYTES);
  const tasks = sharedTasks(outer, (error) => {
    input.fail(error);
    puts.fail(error);
  });
  const claims = openClaims(options.index);
  const news = newsOf(options.index);
  const store = packStorage({ ...options, claims, tasks, puts });

  const storeAll = (packs: readonly FinishedPack[]): void => packs.forEach((each) => void tasks.run(store(each)));

  async function pack({ buffer, spans, ids, tree, bytes, isPages = false }: NewPieces): Promise<void> {
    await puts.take(0);
    // Trees are few: one thread packs them all, so that they end in few packs.
    const { packs } = await pool.run('pack', { buffer, spans, ids, tree, isPages }, { cost: bytes, first: tree });
    free.give(buffer);
    input.give(bytes);
    storeAll(packs);
  }

  /** Of a chunk that is probably new. */
  async function holdAndHash({ buffer, bytes, isPages }: Chunk): Promise<Uint8Array> {
    await puts.take(0);
    const { id, settle } = await pool.hold({ buffer, spans: Uint32Array.of(0, bytes), isPages }, bytes);
    free.give(buffer);
    const isNew = news.count(claims.claim(id, false));
    tasks.run(
      settle(isNew).then(({ packs }) => {
        input.give(bytes);
        storeAll(packs);
      }),
    );
    return id;
  }

  async function hashAndPack({ buffer, bytes, isPages }: Chunk): Promise<Uint8Array> {
    const spans = Uint32Array.of(0, bytes);
    const { ids } = await pool.run('hash', { buffer, spans }, { cost: bytes });
    if (news.count(claims.claim(ids, false))) {
      tasks.run(pack({ buffer, spans, ids, tree: false, bytes, isPages }));
    } else {
      free.give(buffer);
      input.give(bytes);
    }
    return ids;
  }

  return {
    buffers: free,
    claim: claims.claim,
    orEnd(work) {
      try {
        return work();
      } catch (error) {
        tasks.fail(error);
        throw error;
      }
    },
    room: input.take,
    assertAlive: tasks.assertAlive,
    addChunk(chunk) {
      const hashed = news.isLikely() ? holdAndHash(chunk) : hashAndPack(chunk);
      tasks.run(hashed.then(() => {}));
      return hashed;
    },
    add(pieces) {
      const admitted = input.take(pieces.bytes);
      tasks.run(admitted.then(() => pack(pieces)));
      return admitted;
    },
    async flush() {
      await tasks.settled(); // a task ends with its buffers in the hands of the next, which is running already
      tasks.run(finish(pool, store));
      await tasks.settled();
    },
    async [Symbol.asyncDispose]() {
      tasks.fail(new Failure('interrupted', 'the writer was closed'));
      await pool[Symbol.asyncDispose]();
      await tasks[Symbol.asyncDispose]();
    },
  };
}

/** All packs that are open. */
async function finish(pool: Pool, store: (pack: FinishedPack) => Promise<void>): Promise<void> {
  const answers = await pool.runAll('finish', null);
  await Promise.all(answers.flatMap(({ packs }) => packs.map(store)));
}

/** To seal what is new before it is hashed saves to hash it twice; to seal what is known is for nothing. */
interface News {
  isLikely(): boolean;
  /** Whether the next chunk in turn was new, which it returns. */
  count(isNew: boolean): boolean;
}
function newsOf(index: BlobIndex): News {
  let inARow = index.size === 0 ? NEWS_MIN : 0;
  return {
    isLikely: () => inARow >= NEWS_MIN,
    count(isNew) {
      inARow = isNew ? inARow + 1 : 0;
      return isNew;
    },
  };
}

/** Sends finished packs to the bucket. */
function packStorage(
  options: PackingOptions & { claims: Claims; tasks: Tasks; puts: Budget },
): (pack: FinishedPack) => Promise<void> {
  const { bucket, index, claims, tasks, puts } = options;
  return async ({ id, buffer, bytes, header }) => {
    puts.add(1);
    await bucket.put(tasks.ctx, packKey(id), new Uint8Array(buffer, 0, bytes), { sha256: id });
    puts.give(1);
    giveBack(buffer);
    const blobs = decodeHeader(header);
    index.add(id, blobs);
    claims.settle(blobs);
    await options.onPack({ id, blobs, bytes });
  };
}

interface Claims {
  claim: Packing['claim'];
  /** The index knows them now. */
  settle(blobs: readonly PackedBlob[]): void;
}

/** The blobs on their way: as many as fit into the packs that are open or being stored. */
function openClaims(index: BlobIndex): Claims {
  const claimed = new Set<string>();
  const nameOf = (id: Uint8Array, tree: boolean): string =>
    (tree ? 't' : 'd') + Buffer.from(id.buffer, id.byteOffset, id.length).toString('latin1');
  return {
    claim(id, tree) {
      const name = nameOf(id, tree);
      if (claimed.has(name) || index.has(id, tree)) return false;
      claimed.add(name);
      return true;
    },
    settle(blobs) {
      for (const { id, tree } of blobs) claimed.delete(nameOf(id, tree));
    },
  };
}
