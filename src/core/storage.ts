// Where recovery points lie: stores, which know how points are written, and buckets, which hold bytes by key. Nothing
// here does any work.

import type { Driver } from './driver.ts';
import type { Journal } from './journal.ts';
import type { ByteRange, Bytes, Context, Finding, Json, Receipt, Sink, Source } from './model.ts';
import type { RecoveryPoint } from './point.ts';

// ---- stores ------------------------------------------------------------------------------------------

/** The components that a draft will hold, so that a plain store can choose file names. */
export interface DraftPlan {
  readonly stack: string;
  readonly components: readonly { readonly name: string; readonly kind: string }[];
  /** Not to be taken for a backup by those who look at folders only: what a restore is about to replace. */
  readonly aside?: boolean;
}
/** A recovery point being written. Disposed uncommitted, it leaves rubbish at most, never a point. */
export interface Draft extends AsyncDisposable {
  readonly id: string;
  /** Asked for again, it starts the component over: only what the last sink was given counts. */
  sink(component: string): Sink;
}

export interface CheckOptions {
  /** The share of the data to read and hash, 0 (structure only) to 1. */
  readonly readData: number;
  /** Which part of the data a sampled check reads: bytes are split by their hash into 100 shares, from this one on. */
  readonly from?: number;
}
export interface ReclaimOptions {
  readonly apply: boolean;
  /** What was found unreferenced at least this long ago may go. */
  readonly graceMs: number;
}
export interface Reclaimed {
  /** Freed now. */
  readonly bytes: number;
  readonly objects: number;
  /** Found unreferenced, waiting out the grace. */
  readonly pendingBytes: number;
  readonly pendingObjects: number;
}

/** Small JSON documents of ours beside the points: proofs, evidence. Sealed where the store is encrypted. */
export interface Records {
  put(ctx: Context, kind: RecordKind, id: string, value: Json): Promise<void>;
  /** 'missing' when there is none. */
  get(ctx: Context, kind: RecordKind, id: string): Promise<unknown>;
  list(ctx: Context, kind: RecordKind, prefix?: string): AsyncIterable<string>;
  delete(ctx: Context, kind: RecordKind, id: string): Promise<void>;
}
/**
 * 'captures': what is known of a draft's finished components, so that another process can commit them. 'hooks': hooks
 * that a run has still to run, whatever becomes of it. 'owed': points that another store of the same run still lacks.
 * 'kit': the key of the recovery kit. 'releases': data outside the store that no point needs any more. 'staging':
 * drills that have a staging service in use, and must empty it. 'suspended': what a restore has suspended and must
 * set back.
 */
export type RecordKind =
  | 'owner'
  | 'proofs'
  | 'evidence'
  | 'coverage'
  | 'captures'
  | 'hooks'
  | 'owed'
  | 'kit'
  | 'releases'
  | 'staging'
  | 'suspended';

export interface KeyInfo {
  readonly id: string;
  readonly created: string;
  readonly username: string;
  readonly hostname: string;
  readonly current: boolean; // the one that opened this store
}
/** Several passwords for one repository. The last one can't be removed. */
export interface KeyRing {
  list(ctx: Context): Promise<readonly KeyInfo[]>;
  add(ctx: Context, password: string): Promise<KeyInfo>;
  remove(ctx: Context, id: string): Promise<void>;
  /** Adds the new password, proves that it opens, then removes the one in use. */
  change(ctx: Context, password: string): Promise<KeyInfo>;
}

export interface AdoptOptions {
  readonly stack: string;
  /** Whose files they may be, each with its driver's `recognise` where it has one. */
  readonly components: readonly {
    readonly name: string;
    readonly kind: string;
    readonly recognise?: Driver['recognise'];
    readonly recogniseFolder?: Driver['recogniseFolder'];
  }[];
  /** The zone that stamps in file names were written in; dated folders are UTC. */
  readonly timeZone: string;
  /** The plan whose keep rules hold for the points; null keeps them until somebody removes them. */
  readonly plan: string | null;
  /** Only the point of this id. */
  readonly id?: string;
  /** Only points later than this id. */
  readonly after?: string;
  /** The newest first, for those who stop at the first that they can use; else the oldest. */
  readonly newestFirst?: boolean;
}
/** One moment that files of other programs lie there for. */
export interface Adopted {
  readonly id: string;
  /** Null when no file of it could be used. */
  readonly point: RecoveryPoint | null;
  readonly files: readonly string[];
  /** Files that are damaged or can't be told. */
  readonly findings: readonly Finding[];
}

export interface ArchivedObject extends ObjectInfo {
  /** What else is needed is known when this one is back. */
  readonly leads?: boolean;
}
/** What lies in an archive of the bucket and must be thawed before it can be read. */
export interface Archive {
  /**
   * The archived objects that reading these components of the point needs, each once, those that are thawing among
   * them; nothing when all can be read. Where what leads to others is archived itself, only that is named: ask again
   * when it is back.
   */
  needed(ctx: Context, point: string, components: readonly string[]): AsyncIterable<ArchivedObject>;
  thaw(ctx: Context, key: string, request: ThawRequest): Promise<void>;
}

/** How recovery points are written. Disposing releases workers, locks and memory. */
export interface Store extends AsyncDisposable {
  readonly url: string; // for messages; without secrets
  /** 'exists' when the id is taken. */
  begin(ctx: Context, id: string, plan: DraftPlan): Promise<Draft>;
  /** Goes on with a draft of another process. 'missing' when there is none. */
  resume(ctx: Context, id: string): Promise<Draft>;
  /** Receipts that the store has kept for the draft, of this or another process. */
  receipts(ctx: Context, id: string): Promise<readonly Receipt[]>;
  /** The one instant at which the point is seen. */
  commit(ctx: Context, draft: Draft, point: RecoveryPoint, receipts: readonly Receipt[]): Promise<RecoveryPoint>;
  /** In order of id. A manifest that can't be read is logged and left out; `check` reports it. */
  list(ctx: Context): AsyncIterable<RecoveryPoint>;
  /** 'missing' when the point or the component is not there. */
  open(ctx: Context, point: string, component: string): Promise<Source>;
  /**
   * The points are gone when this resolves, to the bytes that went with them; `reclaim` frees the rest. A missing one
   * is no error.
   */
  remove(ctx: Context, ids: readonly string[]): Promise<number>;
  /** Every damage and every gap of a journal that it finds, not only the first; nothing when all is well. */
  check(ctx: Context, options: CheckOptions): AsyncIterable<Finding>;
  /** Frees what no point needs, in two phases. Safe to interrupt and to repeat. Journals stay. */
  reclaim(ctx: Context, options: ReclaimOptions): Promise<Reclaimed>;
  /** Stored bytes of everything, after dedup and compression. */
  bytes(ctx: Context): Promise<number>;
  /** Describes files that other programs left here as recovery points. Reads each of them once and changes none. */
  adopt?(ctx: Context, options: AdoptOptions): AsyncIterable<Adopted>;
  readonly records: Records;
  journal(component: string): Journal;
  /** The components that have a journal here, in order. */
  journals(ctx: Context): AsyncIterable<string>;
  readonly keys?: KeyRing;
  /** Only where the bucket can archive objects. */
  readonly archive?: Archive;
}
export interface StoreFormat {
  readonly format: string;
  /** Makes a new store. 'exists' when anything is there already, 'unreachable' or 'denied' when that can't be told. */
  create(ctx: Context, bucket: Bucket, settings: unknown): Promise<void>;
  /** Never creates anything. 'missing' when there is no store, 'wrong-password', 'not-this-stack'. */
  open(ctx: Context, bucket: Bucket, settings: unknown): Promise<Store>;
  /** True of what must be readable before anything is known of a store. When it was archived, it is asked for first. */
  isEssential(key: string): boolean;
}

// ---- buckets -----------------------------------------------------------------------------------------

export interface ObjectInfo {
  readonly key: string;
  readonly bytes: number;
  readonly modifiedAt: Date;
  /** In a storage class that must be thawed before it can be read (Glacier). */
  readonly archived?: boolean;
  /** Of an archived one: its storage class, in the words of the bucket. */
  readonly storageClass?: string;
  /** Of an archived one: it was asked for, and is on its way. Where only `head` can tell, a listing does not. */
  readonly thawing?: boolean;
}
export type ThawTier = 'Expedited' | 'Standard' | 'Bulk';
export interface ThawRequest {
  /** How long the object then stays readable. */
  readonly days: number;
  readonly tier: ThawTier;
}
export interface PutOptions {
  /** 'exists' when the key is there already, where the bucket can tell. */
  readonly ifAbsent?: boolean;
  readonly contentType?: string;
  /** Of a buffer, in hex, where the caller knows it: saves hashing it again for the transfer. */
  readonly sha256?: string;
}
/** One of many that are put together. */
export interface SmallObject {
  readonly key: string;
  readonly body: Uint8Array;
  /** As in `PutOptions`. */
  readonly sha256?: string;
}
/** Dumb, flat storage. Keys are '/'-separated UTF-8. What wraps it (retry, throttling, faults) is a bucket too. */
export interface Bucket {
  readonly url: string; // for messages; without secrets
  /**
   * All of it or none: a body that breaks off leaves no object. Durable when it resolves. A buffer may be retried, a
   * stream can't.
   */
  put(ctx: Context, key: string, body: Bytes | Uint8Array, options?: PutOptions): Promise<ObjectInfo>;
  /**
   * As `put` of each, where many cost less together; no two have one key. All are durable when it resolves. When it
   * rejects, any of them may be there, each whole.
   */
  putAll?(ctx: Context, objects: readonly SmallObject[]): Promise<void>;
  /** A missing key is 'missing', an archived one 'archived'. A range past the end is 'missing' too. */
  get(ctx: Context, key: string, range?: ByteRange): Bytes;
  head(ctx: Context, key: string): Promise<ObjectInfo>;
  /** In byte order of key. Unfinished puts are never listed. */
  list(ctx: Context, prefix: string): AsyncIterable<ObjectInfo>;
  /**
   * The first segments of the keys below `prefix` (which ends in '/' or is ''), in order: 'a/', 'b/'. Plain keys are
   * left out.
   */
  folders(ctx: Context, prefix: string): AsyncIterable<string>;
  /** What lies directly below `prefix` (which ends in '/' or is ''), in byte order of key; not what lies in folders. */
  files(ctx: Context, prefix: string): AsyncIterable<ObjectInfo>;
  /** A missing key is no error. */
  delete(ctx: Context, key: string): Promise<void>;
  /** Many at once; resolves to the keys that could not be deleted, each with why. */
  deleteAll(ctx: Context, keys: readonly string[]): Promise<readonly { key: string; reason: string }[]>;
  /**
   * Asks for an archived object back; resolves when the request is accepted, and when it was asked for before. Only
   * where objects can be archived.
   */
  thaw?(ctx: Context, key: string, request: ThawRequest): Promise<void>;
  /** Gives back connections and threads. */
  close(): Promise<void>;
}
