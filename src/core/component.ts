// A configured service, what can be done with it, and what a restore of it is made from. Nothing here does any work.

import type { Failure } from './errors.ts';
import type { Feed, Journal, JournalRange, Lineage } from './journal.ts';
import type { FoundMarker, Marker } from './marker.ts';
import type {
  Capture,
  Clock,
  Context,
  Cut,
  Finding,
  InventoryReader,
  JournalPoint,
  Json,
  Merged,
  MergeMode,
  Probe,
  Restored,
  RestoreOptions,
  Row,
  Selection,
  Sink,
  Source,
} from './model.ts';

/** A capture, and the log that is replayed on it where a restore goes beyond its cut. */
export interface Chain {
  readonly base: Source;
  readonly replay?: Replay;
}

/** The log from where a base joins it up to where it is to end. */
export interface Replay {
  readonly target: ReplayTarget;
  /** What is there ends here. */
  readonly end: Cut;
  /**
   * In order, each proved to be what was written there: the first holds the position at which the base joins, the last
   * one the target, or is the last there is. Where a lineage goes on from another, its first one may begin before that.
   * May be read again, and from a later position on: from the end on there are none. 'missing' at a gap.
   */
  ranges(ctx: Context, from?: string): AsyncIterable<ReplayRange>;
  /** All lineages that the log is known to have had, in order: also those that the replay does not go through. */
  readonly lineages: readonly Lineage[];
  /**
   * The words of `lifeboat wal-fetch` with all that it needs to know, for a service that recovers when the restore has
   * ended. Without them this process gives it its log, until `settle`.
   */
  readonly command?: readonly string[];
}
export interface ReplayRange extends JournalRange {
  /** Another than that of the range before, where the log goes on in a later one. */
  readonly lineage: Lineage;
  /** Only what lies before it is replayed: from here on the next lineage goes on. */
  readonly until?: string;
}
/** Where a replay ends: all that was done up to and with it is there. */
export type ReplayTarget =
  /** As soon as the base is whole. */
  | { readonly kind: 'immediate' }
  /** Everything that is there. */
  | { readonly kind: 'latest' }
  /** RFC 3339, by the source's clock. */
  | { readonly kind: 'time'; readonly at: string }
  /** In the driver's words: an LSN, a transaction, the name of a restore point, an offset. */
  | { readonly kind: 'position' | 'transaction' | 'name'; readonly value: string };

/** Where a service's own log is now. */
export interface Standing {
  /** As in lineages and captures: tells which log it is. */
  readonly source: Json;
  readonly end: Cut;
  readonly clock: Clock | null;
}

/** What a configuration has a log for. */
export interface FollowUse {
  /** It is to be followed. */
  readonly isFollowed: boolean;
  /** Stores there are, the one that logs are fed to first. */
  readonly stores: readonly string[];
}

/** Data restored beside the live data of the same server, not yet in its place. */
export interface Staged extends AsyncDisposable {
  /** What was restored, to be compared before it is published. */
  readonly component: Component;
  /** Swaps it in; the old data stays under `keptAs` until told otherwise. */
  publish(ctx: Context, options: { terminateConnections: boolean }): Promise<{ keptAs: readonly string[] }>;
}

/** Where a service that is explored stands. */
export interface Stand {
  /** All before it is replayed, in the driver's words. */
  readonly position: string;
  /** The last change that is there: RFC 3339, by the source's clock; null where nobody can tell. */
  readonly lastChange: string | null;
  /** Null while the replay is paused: then it takes no writes. After that the log that it writes itself, in words. */
  readonly writes: string | null;
  readonly notes: readonly string[];
}
/** The first rows that a query answers, as text. */
export interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
  /** There are others. */
  readonly more: boolean;
}
/** A restored service that stands at a moment of its log, to be looked at. Who explores ends it by `leave`. */
export interface Exploring {
  readonly restored: Restored;
  /** How people come to it: commands and addresses, without secrets. */
  access(): readonly string[];
  stand(ctx: Context): Promise<Stand>;
  /** One query, which may only read. `database` where there are several. */
  query(ctx: Context, text: string, database?: string): Promise<Answer>;
  /**
   * Goes on in the log of the same point, up to a later target. 'missing' with nothing changed where that lies before
   * where it stands, and 'usage' when it takes writes already.
   */
  advance(ctx: Context, replay: Replay): Promise<Stand>;
  /** Ends the replay where it stands: from now on it takes writes. */
  promote(ctx: Context): Promise<Stand>;
  /** Ends the service, and tells how people go on with what was restored. May be called again. */
  leave(ctx: Context): Promise<readonly string[]>;
}

/** One configured service that holds data. An ability is told by a method's presence. */
export interface Component {
  /** Changes nothing. */
  probe(ctx: Context): Promise<Probe>;
  /** All of it as of one cut, with an `inventory.ndjson` of exactly that cut. */
  capture(ctx: Context, sink: Sink, previous?: Source): Promise<Capture>;
  /**
   * Feeds the service's own log from where the journal ends, for good: it ends by the signal, or by a failure after
   * which it may be called again. What comes is stored within seconds, and the service is told of what is durable only.
   */
  follow?(ctx: Context, feed: Feed): Promise<void>;
  /** Why it can not be followed as it is configured: nothing is tried then. Absent where it can. */
  readonly unfollowable?: Failure;
  /**
   * Whether the log that a capture has just joined by name is the one that is stored: a copy of a service that went on
   * by itself is called the same. Null where nothing tells. Changes nothing.
   */
  joins?(ctx: Context, point: JournalPoint, journal: Journal): Promise<boolean | null>;
  /** For comparing the journal with the service. Changes nothing. */
  standing?(ctx: Context): Promise<Standing>;
  /** Forgets at the service what `follow` keeps there, such as a slot. Names what it removed. */
  unfollow?(ctx: Context): Promise<readonly string[]>;
  /** For doctor: is what `follow` needs at the service there and well, and is nothing left that it needs no more? */
  kept?(ctx: Context, use: FollowUse): Promise<readonly Finding[]>;
  /**
   * Leaves a marker in the service's own data, in place of the one before. 'blocked' at a standby and 'exists' where
   * something else bears the name: both are left as they are.
   */
  mark?(ctx: Context, marker: Marker): Promise<void>;
  /** The newest marker that is there. 'exists' where something else bears the name. Changes nothing. */
  marker?(ctx: Context): Promise<FoundMarker | null>;
  /** Removes all that `mark` has ever left. Names what it removed. */
  unmark?(ctx: Context): Promise<readonly string[]>;
  /**
   * Into an empty target, or 'target-not-empty' with nothing changed. When it throws it has set back itself what it
   * suspended.
   */
  restore(ctx: Context, chain: Chain, options?: RestoreOptions): Promise<Restored>;
  /**
   * Restores as `restore` does and starts a service on that, which stands where the replay ends: nothing behind that is
   * there, and it takes no writes. Before anything is touched it throws what is in the way.
   */
  explore?(ctx: Context, chain: Chain & { readonly replay: Replay }, options?: RestoreOptions): Promise<Exploring>;
  /**
   * For the preview: throws 'missing' or 'usage' where nothing of the chain can come back to such a place, whatever it
   * holds, and 'different' where its log is not that of its base. Touches nothing.
   */
  suits?(ctx: Context, chain: Chain): Promise<void>;
  /**
   * What would delete or rewrite by age what a restore of this chain brings: rules of the point and of the target, in
   * words for the preview. `restore` suspends them, and `settle` of its result sets them back.
   */
  ageing?(ctx: Context, chain: Chain, options?: RestoreOptions): Promise<readonly string[]>;
  /**
   * What the target would refuse or delete of what a restore of this chain brings, where no restore can suspend that:
   * in words, for the preview.
   */
  cautions?(ctx: Context, chain: Chain, options?: RestoreOptions): Promise<readonly string[]>;
  /**
   * Sets back what a restore told `suspending` of and was killed before it could. What it finds set back, or changed by
   * others since, stays.
   */
  resume?(ctx: Context, what: Json): Promise<void>;
  /** Only for data that lies outside our store: is what `external` names still there and whole? Changes nothing. */
  check?(ctx: Context, external: Json): AsyncIterable<Finding>;
  /** Forgets the data that `external` names; what is gone already is no error. The point goes next. */
  release?(ctx: Context, external: Json): Promise<void>;
  /** Of the live service as it is now, at the level the settings name. */
  inventory(ctx: Context): Promise<InventoryReader>;
  /** Runs the user's check against the live service; the answer is one number. `database` where there are several. */
  measure?(ctx: Context, query: string, database?: string): Promise<number>;
  /** What a query of the user's answers, in its only column, without nulls; for reference checks. It may only read. */
  values?(ctx: Context, query: string, database?: string): AsyncIterable<string>;
  /**
   * All names in one of its spaces (a bucket, an index, a topic, a pattern of keys), in any order; 'missing' without
   * it.
   */
  names?(ctx: Context, space: string): AsyncIterable<string>;
  /** Which of `names` are in that space, in their order; 'missing' when there is no such space. */
  holds?(ctx: Context, space: string, names: readonly string[]): Promise<readonly boolean[]>;
  /** Runs one statement of the user's against the live service, for hooks. */
  execute?(ctx: Context, statement: string, database?: string): Promise<void>;
  /** For doctor: what settings that cost time would cost here, measured on a little of the live data. */
  costs?(ctx: Context): Promise<readonly Finding[]>;
  /** Restores beside the live data, for a comparison before the swap. */
  stage?(ctx: Context, chain: Chain, id: string, options?: RestoreOptions): Promise<Staged>;
  /**
   * Removes from a staging service what a restore of this chain brought into it when it was empty, after a drill. Names
   * what stays, each with its reason.
   */
  clear?(ctx: Context, chain: Chain): Promise<readonly string[]>;
  /**
   * Of a staging service in which a restore was killed: ends what that left going on, such as following a master that
   * is gone. The data stays.
   */
  detach?(ctx: Context): Promise<void>;
  /** Of a staging service: does something pass on what is written there (archives, replicas)? Changes nothing. */
  isolation?(ctx: Context): Promise<readonly Finding[]>;
  /** Forgets old data that in-place restores kept. Names what it removed. */
  dropOld?(ctx: Context): Promise<readonly string[]>;
  /** Rows of the point. `sandbox` gives an empty throw-away server of the point's version to those who need one. */
  extract?(ctx: Context, chain: Chain, selection: Selection, sandbox: () => Promise<Component>): AsyncIterable<Row>;
  /** Puts extracted rows into this live service. 'preview' only counts. */
  merge?(ctx: Context, rows: AsyncIterable<Row>, selection: Selection, mode: MergeMode): Promise<Merged>;
}
