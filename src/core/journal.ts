// Journals: the continuous log that follows a recovery point. Stores keep them, drivers fill and replay them. Nothing
// here does any work.

import type { Capture, Clock, Context, Cut, JournalPoint, Json, Sink, Source } from './model.ts';

/**
 * Where a driver is in its log: 1 to 80 digits and small letters that sort by byte as the log goes. All positions of a
 * lineage have one length, so numbers are filled up with zeros.
 */
export interface JournalPlace {
  readonly lineage: string;
  readonly position: string;
}

/** A log that can be replayed without a break. A full resync or a timeline that forks begins another one. */
export interface LineageStart {
  /** Where the first range will begin. Times of cuts are RFC 3339, by the source's clock. */
  readonly from: Cut;
  /** The point that it is replayed on; null when that is not there yet, or is one of the lineage before. */
  readonly base: string | null;
  readonly why: string;
  /** What tells the driver whether a point or a server fits: a replication id, a timeline. */
  readonly source: Json;
  /** Where in an earlier lineage it goes on from, when what was replayed up to there can be replayed on here. */
  readonly parent: JournalPlace | null;
  /** What else a replay needs that is not in the log itself, such as the history of a timeline. */
  readonly detail?: Json;
}
export interface Lineage extends LineageStart {
  /** Lineages of a component sort by it as they were begun. */
  readonly id: string;
  readonly begunAt: string; // RFC 3339, our clock
}

/** A piece of the log, whole and unchanged. */
export interface JournalRange {
  readonly from: Cut;
  readonly to: Cut;
  /** When the last of it arrived; RFC 3339, our clock. */
  readonly at: string;
  /** The source's clock, where it was measured meanwhile. */
  readonly clock?: Clock | undefined;
  /** At most `RANGE_BYTES_MAX`. */
  readonly body: Uint8Array;
}
export const RANGE_BYTES_MAX = 16 * 1024 * 1024;

/** What was lost before it could be stored. */
export interface JournalGap {
  readonly from: Cut;
  readonly to: Cut;
  /** When it was found; RFC 3339, our clock. */
  readonly at: string;
  readonly reason: string;
}

export type JournalEntry = JournalRange | JournalGap;

/** An unbroken piece of a lineage, or what is missing between two. */
export interface JournalStretch {
  readonly lineage: Lineage;
  readonly from: Cut;
  readonly to: Cut;
  /** The source's clock as it was measured with its first and its last range; null where nobody did. */
  readonly clocks: { readonly from: Clock | null; readonly to: Clock | null };
  /** Stored ones. */
  readonly ranges: number;
  readonly bytes: number;
  /** Why nothing can be replayed here; null where everything can. */
  readonly gap: string | null;
}

/**
 * The only one who writes the journal of a component. A call that rejects with what may pass is made again as it was
 * before any other is; until then `durable` says what is certain. 'lease-lost' when somebody else took over: for good.
 */
export interface JournalWriter extends AsyncDisposable {
  /** What is gone on with; null when there is none, or when its end is damaged: then one must be begun. */
  lineage(): Lineage | null;
  /** Up to where all is stored: the source may forget no more than this. Null without a lineage. */
  durable(): Cut | null;
  /** What was stored last in the lineage, to be compared with the source; null when that is a gap, or nothing. */
  last(ctx: Context): Promise<JournalRange | null>;
  /** What is copied from another store is begun as it was there: by `begunAt` and `source` both are known for one. */
  begin(ctx: Context, start: LineageStart & Partial<Pick<Lineage, 'begunAt'>>): Promise<Lineage>;
  /**
   * Durable when it resolves. Begins where the journal ends. A range that is there already with the same bytes is no
   * error; with others it is 'different', and so is one with other borders: two sources have the same positions.
   */
  append(ctx: Context, range: JournalRange): Promise<void>;
  /** Begins where the journal ends, and is as durable and as repeatable as a range. */
  gap(ctx: Context, gap: JournalGap): Promise<void>;
}

/**
 * What who follows a service is given: its journal, and the points that the log is replayed on. While a store is away
 * a call waits for it. After the signal what is put still has some seconds: what came can be stored.
 */
export interface Feed extends Omit<JournalWriter, keyof AsyncDisposable> {
  /**
   * Takes a point of this component alone, by `capture` where the copy comes with the log, else as any backup does. The
   * log may be fed meanwhile. To its id.
   */
  base(ctx: Context, why: string, capture?: (ctx: Context, sink: Sink) => Promise<Capture>): Promise<string>;
  /** The points that hold this component, with where they join a log; oldest first. */
  bases(ctx: Context): Promise<readonly FeedBase[]>;
  /** Whether some point can be brought to where the journal ends: else nothing of what comes next can be restored. */
  leads(ctx: Context): Promise<boolean>;
  /**
   * What the lineage that is gone on with has stored, for services that do not keep for us where we are: in order, from
   * the range that holds `from` on. As `Journal.read`.
   */
  read(ctx: Context, from: string): AsyncIterable<JournalRange>;
  /** The component as a point has it, to go on from that. */
  open(ctx: Context, point: string): Promise<Source>;
}
export interface FeedBase extends JournalPoint {
  readonly point: string;
}

export interface PrunedJournal {
  readonly bytes: number;
  readonly objects: number;
}

/** The journal of one component in one store. Reading takes no lease. */
export interface Journal {
  /** 'locked' while another one writes it. */
  write(ctx: Context): Promise<JournalWriter>;
  /** In the order in which they were begun. One that can't be read is logged and left out; `check` reports it. */
  lineages(ctx: Context): AsyncIterable<Lineage>;
  /**
   * What is there, lineage by lineage and in order, as far as names and the ends of stretches tell; whether each range
   * is whole, `check` of the store says.
   */
  stretches(ctx: Context): AsyncIterable<JournalStretch>;
  /** The first range that had arrived at or after `at`, by our clock, without its bytes; null when none had. */
  arrived(ctx: Context, lineage: string, at: Date): Promise<Omit<JournalRange, 'body'> | null>;
  /**
   * In order, each proved to be the one that was written there: the one that holds `from` is the first, the one that
   * reaches `to` the last (null: as far as there are any). 'missing' at a gap, 'checksum' or 'different' at damage.
   */
  read(ctx: Context, from: JournalPlace, to: string | null): AsyncIterable<JournalRange>;
  /**
   * For copies: what ends behind that place, in order, with a gap in place of what is missing or damaged. Begins later
   * where the rest was pruned.
   */
  entries(ctx: Context, from: JournalPlace): AsyncIterable<JournalEntry>;
  /**
   * Removes what no kept point needs: these are the cuts of all of them, and of those that are being written. The
   * newest lineage stays when none lies in it, as its base may not be a point yet. Only counted unless told to apply.
   */
  prune(ctx: Context, kept: readonly JournalPlace[], options: { readonly apply: boolean }): Promise<PrunedJournal>;
  /** Removes all of it. 'locked' while somebody writes it. */
  forget(ctx: Context): Promise<PrunedJournal>;
}
