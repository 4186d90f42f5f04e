// What costs time: hashing, compressing, sealing and opening. Threads do it, or the caller when it is little.

import assert from 'node:assert/strict';
import { messageOf } from '../../core/errors.ts';
import { type MasterKey, sha256 } from './crypto.ts';
import { openBlob, PACK_BYTES_MAX, plainLength } from './pack.ts';
import { type FinishedPack, type HeldBlob, type PackBuilder, packBuilder } from './pack-builder.ts';
import { copyInto, lentBuffers } from './pool-buffers.ts';

/** One thread packs all trees, when data may fill packs of its own: several of these are in memory at once. */
const TREE_PACK_BYTES_MAX = 8 * 1024 * 1024;

/** Some pieces of a buffer, which is the thread's until its answer. `ids` are theirs, 32 bytes each. */
export interface Pieces {
  readonly buffer: SharedArrayBuffer;
  /** Offset and length of each. */
  readonly spans: Uint32Array;
}
/** What each kind of job is given and answers with. */
export interface Jobs {
  /** The ids of pieces. */
  readonly hash: { readonly job: Pieces; readonly answer: { ids: Uint8Array } };
  /** Puts pieces into this thread's open pack. */
  readonly pack: {
    readonly job: Pieces & { readonly ids: Uint8Array; readonly tree: boolean; readonly isPages?: boolean };
    readonly answer: { packs: FinishedPack[] };
  };
  /** Seals a piece that nobody has hashed: its id comes of what was read back. `settle` says whether it is new. */
  readonly hold: {
    readonly job: Pieces & { readonly isPages: boolean };
    readonly answer: { id: Uint8Array; held: number };
  };
  readonly settle: {
    readonly job: { readonly held: number; readonly isNew: boolean };
    readonly answer: { packs: FinishedPack[] };
  };
  /** Closes this thread's open packs. */
  readonly finish: { readonly job: null; readonly answer: { packs: FinishedPack[] } };
  /** Opens sealed blobs into `plain`, one after another; without it they are only proved, without `ids` not hashed. */
  readonly open: {
    readonly job: Pieces & {
      readonly ids: Uint8Array | null;
      readonly uncompressed: Uint32Array;
      readonly plain: SharedArrayBuffer | null;
    };
    /** `damages`: what is wrong, by number of the piece. Its bytes in `plain` mean nothing. */
    readonly answer: { damages: ReadonlyMap<number, string> };
  };
}
export type JobKind = keyof Jobs;
export type Job = { [K in JobKind]: { readonly kind: K; readonly job: Jobs[K]['job'] } }[JobKind];
export type Answers = Jobs[JobKind]['answer'];
export interface JobSettings {
  readonly key: { readonly encrypt: Uint8Array; readonly macK: Uint8Array; readonly macR: Uint8Array };
  readonly compressionLevel: number;
}
/** What a thread is asked: a job of the pool of this number, or null when that was closed. */
export interface Question {
  readonly pool: number;
  readonly settings: JobSettings;
  readonly job: Job | null;
}

/**
 * What one thread does for one pool, one job at a time. It keeps the packs that it is filling, and touches nothing but
 * memory.
 */
export function jobRunner(settings: JobSettings): (job: Job) => Answers {
  const key = {
    encrypt: Buffer.from(settings.key.encrypt),
    macK: Buffer.from(settings.key.macK),
    macR: Buffer.from(settings.key.macR),
  };
  const { compressionLevel } = settings;
  const builderOf = (tree: boolean, bytes: number): PackBuilder =>
    packBuilder({ key, tree, compressionLevel, memory: lentBuffers(bytes) });
  const builders = { data: builderOf(false, PACK_BYTES_MAX), tree: builderOf(true, TREE_PACK_BYTES_MAX) };
  const held = new Map<number, HeldBlob>();
  let holds = 0;

  function holdPiece(job: Jobs['hold']['job']): Jobs['hold']['answer'] {
    const [piece] = piecesOf(job);
    assert(piece);
    const blob = builders.data.hold(piece, job.isPages);
    held.set(++holds, blob);
    return { id: Uint8Array.from(blob.id), held: holds };
  }
  function settled({ held: number, isNew }: Jobs['settle']['job']): FinishedPack[] {
    const blob = held.get(number);
    assert(blob, 'what is settled is held');
    held.delete(number);
    const closed = isNew ? builders.data.keep(blob) : builders.data.drop(blob);
    return closed ? [closed] : [];
  }
  return ({ kind, job }) => {
    switch (kind) {
      case 'hash':
        return { ids: hashPieces(job) };
      case 'pack':
        return { packs: packPieces(job.tree ? builders.tree : builders.data, job) };
      case 'hold':
        return holdPiece(job);
      case 'settle':
        return { packs: settled(job) };
      case 'finish':
        return { packs: [builders.data.finish(), builders.tree.finish()].filter((pack) => pack !== undefined) };
      case 'open':
        return { damages: openPieces(key, job) };
    }
  };
}

function* piecesOf({ buffer, spans }: Pieces): Iterable<Buffer> {
  for (let i = 0; i < spans.length; i += 2) yield Buffer.from(buffer, spans[i], spans[i + 1]);
}

function hashPieces(pieces: Pieces): Uint8Array {
  const ids = new Uint8Array((pieces.spans.length / 2) * 32);
  let at = 0;
  for (const piece of piecesOf(pieces)) {
    ids.set(sha256(piece), at);
    at += 32;
  }
  return ids;
}

function packPieces(builder: PackBuilder, job: Jobs['pack']['job']): FinishedPack[] {
  const packs: FinishedPack[] = [];
  let at = 0;
  for (const piece of piecesOf(job)) {
    const closed = builder.add(job.ids.slice(at, at + 32), piece, job.isPages);
    if (closed) packs.push(closed);
    at += 32;
  }
  return packs;
}

function openPieces(key: MasterKey, job: Jobs['open']['job']): Map<number, string> {
  const { plain } = job;
  const damages = new Map<number, string>();
  let at = 0;
  let number = 0;
  for (const sealed of piecesOf(job)) {
    const blob = {
      id: job.ids?.subarray(number * 32, number * 32 + 32) ?? null,
      uncompressedLength: job.uncompressed[number] ?? 0,
    };
    try {
      openBlob(key, sealed, blob, (opened) => void (plain && copyInto(plain, at, opened)));
    } catch (error) {
      damages.set(number, messageOf(error));
    }
    at += plainLength({ length: sealed.length, uncompressedLength: blob.uncompressedLength });
    number += 1;
  }
  return damages;
}
