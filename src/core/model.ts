// The nouns of Lifeboat and the interfaces between its layers. Nothing here does any work, and nothing
// here imports anything of ours. The words are those of docs/glossary.md.

/** A stream of bytes. Chunks are borrowed: a consumer that keeps one past the next step copies it. */
export type Bytes = AsyncIterable<Uint8Array>;
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type Verdict = 'pass' | 'unknown' | 'fail';

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  /** The operator should act. */
  warn(message: string, fields?: LogFields): void;
  /** We should act. */
  error(message: string, fields?: LogFields): void;
}
export type LogFields = Readonly<Record<string, unknown>>;

/** How far a piece of long work is. Figures only grow within one (task, phase). */
export interface Progress {
  readonly task: string; // a component, a store
  readonly phase: string; // 'capture', 'restore', 'verify'
  readonly bytes?: number;
  readonly bytesTotal?: number;
  readonly items?: number;
  readonly itemsTotal?: number;
  /** Of a log that is followed: all up to there is stored. */
  readonly upTo?: Cut;
  /** What figures do not tell. */
  readonly note?: string;
}

/** What every call that can wait is given first. Only cli/main.ts makes a real one; tests pass their own clock. */
export interface Context {
  readonly signal: AbortSignal;
  now(): Date;
  /** Milliseconds of a clock that never jumps; only differences mean anything. */
  monotonicMs(): number;
  /** Rejects as soon as the signal of this context is aborted. */
  sleep(this: Context, ms: number): Promise<void>;
  progress(event: Progress): void;
  readonly log: Log;
  /** The environment that child programs get (PATH, HOME, PGPASSFILE, AWS_…). */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A directory for temporary files; everything made in it is removed by who made it. */
  readonly scratch: string;
}

// ---- what is protected -------------------------------------------------------------------------------

/** The position that a component was captured at, in the driver's own words, with its time. */
export interface Cut {
  readonly position: string; // an LSN, a replication offset
  readonly at: string; // RFC 3339, the source server's clock
}

/** A service's clock as it was measured. */
export interface Clock {
  /** Before ours. */
  readonly aheadMs: number;
  /** How far that may be wrong, either way. */
  readonly errorMs: number;
}

/** Modes and owners of a file, for stores that can keep them and for restores that set them. */
export interface FileAttributes {
  readonly mode: number; // permission bits
  readonly uid: number;
  readonly gid: number;
  readonly mtime: string; // RFC 3339
}

/** One named stream of a component within a recovery point. */
export interface Part {
  /** '/'-separated; no empty, '.' or '..' segment; any other Unicode, at most 1024 bytes. */
  readonly name: string;
  readonly bytes: number;
  /** Within one store, equal digests mean equal bytes: 'sha256:<hex>' or a store's own kind, 'blobs:<hex>'. */
  readonly digest: string;
  /** Where the bytes lie, for `Sink.keep`. */
  readonly point: string;
  readonly component: string;
  readonly attributes?: FileAttributes;
  /** As `PartMeta` says it, where the store can tell: copies are put so, too. */
  readonly inPlace?: true;
}

/** Says which part is meant, and where it lies. */
export type PartRef = Pick<Part, 'name' | 'bytes' | 'point' | 'component'>;

/** How a part looks in a folder of plain files, for those who want files. Made by the driver, used by plain stores. */
export interface Rendition {
  /** The part's name in a plain store: 'databases/shop.sql' for 'databases/shop.dump'. */
  readonly name: string;
  /** The word that the file name begins with, and the folder in layout by-component: 'postgres'. */
  readonly word: string;
  /** What it is within the component: a database's name, 'globals'; null when there is nothing to tell apart. */
  readonly item: string | null;
  /** True when the component has this item only, so that the file's name need not tell it. */
  readonly alone: boolean;
  /** '.sql', '.rdb'; the store adds '.gz'. */
  readonly suffix: string;
  readonly gzip: boolean;
  /** Packed in less time into a little more: where the source gives faster than processors pack. */
  readonly quick?: true;
  /**
   * For kinds of many parts: where it lies in the folder that the component then has in place of single files, each
   * segment any text. `item`, `alone` and `suffix` say nothing then.
   */
  readonly path?: readonly string[];
  /** All such parts of the component that have one file's name are that file, one behind the other as they are put. */
  readonly joined?: true;
  /** Turns the captured bytes into the plain form while they stream; absent when they are the same. */
  readonly transform?: (ctx: Context, body: Bytes) => Bytes;
}

/** Of bytes that went by; the hash in hex. */
export interface Sum {
  readonly bytes: number;
  readonly sha256: string;
}

export interface PartMeta {
  readonly attributes?: FileAttributes;
  readonly rendition?: Rendition;
  /** Its pages change where they are, and nothing is inserted: a store that cuts parts need not look for borders. */
  readonly inPlace?: true;
  /** Who puts hashes the body as it passes, and says once it has ended what it was: a store need not hash it again. */
  readonly sum?: () => Sum;
}

/** Read access to one component of one recovery point. */
export interface Source {
  readonly point: string;
  readonly component: string;
  /** Sources of one store that have the same hold the same parts, byte for byte. */
  readonly identity?: string;
  /** In byte order of name. Never an array: there may be a million. */
  parts(ctx: Context, prefix?: string): AsyncIterable<Part>;
  /** A name that is not there is 'missing'. */
  part(ctx: Context, name: string): Promise<Part>;
  /**
   * Checked while it is read: changed bytes end in 'checksum', never in a silent difference. A range past the end is
   * 'missing'.
   */
  get(ctx: Context, name: string, range?: ByteRange): Bytes;
  /**
   * As `get` of a whole part, for who hashes all of it and compares that with what the point says: what the store would
   * prove by hashes of its own is left to them. When they differ, `get` tells what is damaged, or finds it elsewhere.
   */
  getUnhashed?(ctx: Context, name: string): Bytes;
  /**
   * As `get` of each, in this order, some whole parts at a time, where many small ones cost less together. They are
   * borrowed as chunks are. All parts before one that is damaged are given before it fails. A part that is too large to
   * be given whole is 'malformed'.
   */
  getAll?(ctx: Context, names: readonly string[]): AsyncIterable<readonly Uint8Array[]>;
}
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** A small part. Stores that name bytes by their digest take the one that is given. */
export interface WholePart {
  readonly name: string;
  readonly whole: Uint8Array;
  /** Of these bytes, in hex. */
  readonly sha256: string;
  readonly meta?: PartMeta;
}
/** A part that is to be kept, and where its bytes lie. */
export interface KeptPart {
  readonly name: string;
  readonly from: PartRef;
  readonly meta?: PartMeta;
}

/** Where a driver puts a component's parts. Calls may run in parallel; the store bounds them, in order of arrival. */
export interface Sink {
  /** Resolves when the part is accepted, not yet when it is durable: `receipt` waits for that. */
  put(ctx: Context, name: string, body: Bytes, meta?: PartMeta): Promise<Part>;
  /**
   * The same bytes as a part of an earlier point of the same component: nothing is read again. 'missing' or 'checksum'
   * when that part is damaged: the engine then captures the component anew, without the earlier point.
   */
  keep(ctx: Context, name: string, from: PartRef, meta?: PartMeta): Promise<Part>;
  /**
   * As `put` of each, where many cost less together. The bytes are the caller's again when it resolves. When this or
   * `keepAll` rejects, some of the parts may have been taken: the sink is good for nothing but to be left, and the
   * draft's next sink of the component starts over.
   */
  putAll?(ctx: Context, parts: readonly WholePart[]): Promise<readonly Part[]>;
  /** As `keep` of each, where many cost less together. All lie in one component of one earlier point. */
  keepAll?(ctx: Context, parts: readonly KeptPart[]): Promise<readonly Part[]>;
  /** Waits until everything put is durable and readable; the sink takes no more parts after it. */
  receipt(ctx: Context): Promise<Receipt>;
}

/** What a store gives for the parts of a component. Serialisable, so that another process can commit them. */
export interface Receipt {
  readonly component: string;
  readonly parts: number;
  readonly bytes: number;
  /** The store's own. */
  readonly proof: Json;
}

/** One line of an inventory: what was in the component at the cut. */
export interface InventoryLine {
  readonly kind: string; // 'table', 'sequence', 'keys'
  readonly name: string;
  /** Rows, keys, bytes; null when it was not counted. */
  readonly count: number | null;
  /** Null when it was not digested: equality is then unknown. */
  readonly digest: string | null;
  readonly detail?: Json;
}
export interface InventoryReader {
  /** Ordered by (kind, name) in code-unit order, so that two can be compared in one walk. */
  lines(ctx: Context): AsyncIterable<InventoryLine>;
}

export interface Finding {
  readonly check: string; // 'shop.orders has the same rows'
  readonly verdict: Verdict;
  readonly detail: string;
  /** The next step, when there is one. */
  readonly hint?: string;
  /** Some of it was taken as the restore left it and not read again: a pass that is no proof. */
  readonly unread?: true;
  /** Unknown for no other reason than that there is nothing to compare with. */
  readonly uncompared?: true;
  /** What is found lies in a journal; `noted` where it is a gap that was known before. */
  readonly journal?: { readonly component: string; readonly noted: boolean };
}

/** What `probe` saw. */
export interface Probe {
  readonly version: string; // '16.14'
  /** Tells this server from its copies: PostgreSQL's system identifier, Redis' run id. */
  readonly identity: string;
  readonly bytes: number | null;
  /** Null when a restore would overwrite nothing; else what is there: '12 tables in database shop'. */
  readonly holdsData: string | null;
  /** Source clock minus ours; null when it can't be told. */
  readonly clockSkewMs: number | null;
  /** For doctor: privileges, programs, limits. */
  readonly findings: readonly Finding[];
}

export interface Capture {
  readonly cut: Cut;
  readonly method: string; // 'logical', 'replica'
  readonly serverVersion: string;
  readonly identity: string;
  readonly inventoryLevel: InventoryLevel;
  /** Sums over the inventory: { databases: 1, tables: 12, rows: 500000 }. */
  readonly totals: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  /** Where the data lies when it is not in our store; goes into the manifest, and to `check` and `release`. */
  readonly external?: Json;
  /** Where it lies in the log of its service, where there is one that can be followed. */
  readonly journal?: JournalPoint;
}
/** Where a capture joins the log of its service. */
export interface JournalPoint {
  /** Tells which log: it joins lineages that have an equal one. */
  readonly source: Json;
  /** Replaying begins here. */
  readonly from: string;
  /** From here on what was replayed is whole. */
  readonly to: string;
}
export type InventoryLevel = 'full' | 'sample' | 'counts';

/** What part of a component is meant; each driver reads its own fields and refuses the others. */
export interface Selection {
  readonly database?: string;
  readonly tables?: readonly string[];
  readonly where?: string;
  readonly keys?: readonly string[]; // glob patterns
  readonly paths?: readonly string[]; // of files, of znodes
  readonly buckets?: readonly string[];
  readonly indices?: readonly string[]; // glob patterns
  readonly topics?: readonly string[]; // glob patterns
  readonly streams?: string; // a selector of log streams: '{app="shop"}'
  /** RFC 3339; of records and lines, from `since` to before `until`. */
  readonly since?: string;
  readonly until?: string;
  /** RFC 3339: objects as they were at that time, where the point holds their versions. */
  readonly asOf?: string;
}
export interface RestoreOptions {
  readonly select?: Selection;
  /** The target may hold data, which the restore replaces. Only set when the user asked for it by name. */
  readonly replace?: boolean;
  /** End sessions that stand in the way. */
  readonly terminateConnections?: boolean;
  /** Parallel jobs; the driver's default when absent. */
  readonly jobs?: number;
  /** The inventory that follows reads everything, also where nothing tells that it is not what was written. */
  readonly reread?: boolean;
  /** Other names for buckets, indices, topics or roots, by their name in the point. */
  readonly rename?: Readonly<Record<string, string>>;
  /** What the target has and is the same already is left as it is; the target may hold data. */
  readonly delta?: boolean;
  /** Called before something is suspended, with what `resume` needs to set it back; durable when it resolves. */
  readonly suspending?: (what: Json) => Promise<void>;
}
export interface Restored {
  readonly bytes: number;
  /** 'master', 'restore-commands', 'logical' where a driver has several ways. */
  readonly method: string;
  readonly warnings: readonly string[];
  /** What could not be brought back, each named with its reason. Anything here makes the restore incomplete. */
  readonly missing?: readonly string[];
  /** Where a log is replayed: the last change that comes with it, by the source's clock. */
  readonly reached?: Cut;
  /** Of what was restored alone, named as in the point: for restores under other names, or beside other data. */
  readonly inventory?: (ctx: Context) => Promise<InventoryReader>;
  /** Of a selection, where it can be told. Without it nothing of a selection is compared. */
  readonly selected?: Selected;
  /**
   * Sets back what deletes or rewrites by age, which the restore had suspended, and ends what the restored service was
   * given meanwhile, such as its log. The engine calls it after the comparison, also when that fails. May be called
   * again.
   */
  readonly settle?: (ctx: Context) => Promise<void>;
}

/** What of a selection is compared with the point. */
export interface Selected {
  /** Lines of inventories, named as in the point, that say what was selected and nothing else. */
  has(line: InventoryLine): boolean;
  /** What else came back and no line tells of, with the reason; null when there is none. */
  readonly uncompared: string | null;
}

/** One row, key or file that `extract` brings back. */
export interface Row {
  /** Names it within its component: a primary key, a Redis key, a path. */
  readonly key: string;
  readonly value: Json;
}
export type MergeMode = 'preview' | 'missing-only' | 'overwrite';
export interface Merged {
  readonly missing: number; // not in the target: added unless previewed
  readonly different: number; // there with another value: replaced by 'overwrite'
  readonly same: number;
  readonly expired?: number; // passed away since: left out, and what has its name now stays
  readonly applied: number;
}
