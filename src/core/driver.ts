// A driver, and the throw-away servers that it describes for drills.

import type { Component } from './component.ts';
import type { Journal } from './journal.ts';
import type { Bytes, Context, Finding, InventoryLine, InventoryReader, Rendition, Source } from './model.ts';

/** The code for one kind of component. */
export interface Driver {
  readonly kind: string;
  /** Checks settings and does no I/O; 'settings-invalid' otherwise. */
  open(settings: unknown): Component;
  /** What equal means for this kind. */
  compare(ctx: Context, expected: InventoryReader, actual: InventoryReader): AsyncIterable<Finding>;
  /**
   * Whether a restore that was killed can have left `actual` where the point has `expected`, two lines of one name.
   * Without it only what is the same.
   */
  isHalfOf?(expected: InventoryLine, actual: InventoryLine): boolean;
  /** The settings of the same component at another place: '--to main-db=postgresql://…'. */
  retarget?(settings: unknown, target: string): unknown;
  /** A throw-away server, as data for a sandbox runner. 'program-missing' when this machine has none. */
  serverSpec?(ctx: Context, need: SandboxNeed): Promise<ServerSpec>;
  /**
   * Puts a file of its log that a service hands over by itself into the journal: durable when it resolves. 'different'
   * where the journal has other bytes.
   */
  pushLog?(ctx: Context, journal: Journal, path: string): Promise<PushedLog>;
  /**
   * Gives a service that recovers by itself one file of its log. False where the log ends before it: what else is in
   * the way is thrown.
   */
  fetchLog?(ctx: Context, journal: Journal, request: LogRequest): Promise<boolean>;
  /**
   * Puts that file and those behind it into the spool, as many as may wait there, until the service has recovered, has
   * taken none for long, or has another one do so. False where the journal has not all of that file.
   */
  fetchLogAhead?(ctx: Context, journal: Journal, request: AheadRequest): Promise<boolean>;
  /** The plain forms of the parts of a capture, in byte order of part. Parts it does not name stay as they are. */
  renditions?(ctx: Context, source: Source, serverVersion: string): AsyncIterable<PartForm>;
  /** Recognises a file that the old scripts wrote: the part that it is, or null. */
  recognise?(fileName: string): Recognised | null;
  /** Recognises a folder that the old scripts filled, by its name, or null. */
  recogniseFolder?(folderName: string): RecognisedFolder | null;
}
export interface PushedLog {
  readonly outcome: 'stored' | 'was there' | 'passed over';
  /** Why it was passed over. */
  readonly why: string | null;
}
export interface LogRequest {
  /** As the service calls it. */
  readonly file: string;
  /** Where it goes; relative to where the service runs. */
  readonly path: string;
  /** The folder that it looks into first: which file may be put there next is told in it. */
  readonly spool?: string | undefined;
  /** Where the service keeps its log; the folder of `path` unless told. */
  readonly within?: string;
}
export interface AheadRequest extends LogRequest {
  readonly spool: string;
  /** What else it wants meanwhile, of whoever may have it: as `fetchLog`. */
  ask(ctx: Context, request: LogRequest): Promise<boolean>;
}
export interface PartForm {
  readonly part: string;
  readonly rendition: Rendition;
}
export interface Recognised {
  readonly part: string;
  readonly stamp: string | null;
  /** Passes the unpacked content on; 'malformed' when it is not whole. Absent where such files don't tell. */
  readonly checked?: (ctx: Context, body: Bytes) => Bytes;
}
/** A folder of which nobody knows whether it is whole: nothing in it says so. */
export interface RecognisedFolder {
  readonly stamp: string;
  /**
   * What its files are, told in byte order of path: each either a file of the folder as it lies there, or a part that
   * is made of what was seen.
   */
  parts(ctx: Context, files: AsyncIterable<FolderFile>): AsyncIterable<FolderPart>;
}
export interface FolderFile {
  /** As seen from the folder. */
  readonly path: string;
  readonly bytes: number;
  readonly modifiedAt: Date;
  readonly sha256: string;
}
export type FolderPart = { readonly name: string } & ({ readonly file: FolderFile } | { readonly body: Bytes });

// ---- sandboxes ---------------------------------------------------------------------------------------

export interface SandboxNeed {
  readonly version: string; // of the server that was captured
  readonly dir: string; // empty, owned by the user that the server runs as
  readonly port: number; // free on 127.0.0.1
  readonly password: string; // fresh for this sandbox
  /** How the point was captured, as `Capture.method` says it. */
  readonly method?: string | undefined;
  /** Of the component that was captured: they may say where programs are. No sandbox leads to that component. */
  readonly settings?: unknown;
}
/** A program to run: never through a shell, secrets only in `env`, `stdin` or files. */
export interface Command {
  readonly program: string; // a name looked up in PATH, or a path
  /** What messages call it, where it is started by another program. */
  readonly name?: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** For standard input, which is closed unless there is any. */
  readonly stdin?: string;
  readonly cwd?: string;
  /** Run as this user (only root can). */
  readonly user?: { readonly uid: number; readonly gid: number };
}
/** It is ready as soon as `probe` of the component opened with `settings` answers. */
export interface ServerSpec {
  /** For `Driver.open` of what a restore goes to, where the server runs on that: `prepare` and `run` come after it. */
  readonly restoreTo?: unknown;
  readonly files: readonly { readonly path: string; readonly content: string; readonly mode: number }[];
  readonly prepare: readonly Command[];
  /** Stays in the foreground. Null when a directory is all that it takes. */
  readonly run: Command | null;
  readonly settings: unknown; // for Driver.open
  /** The server refuses to run as root. */
  readonly unprivileged: boolean;
  readonly stopSignal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT';
}
export interface Sandbox extends AsyncDisposable {
  readonly component: Component;
  /** Where its server lies on this machine; '' when it is not ours. */
  readonly dir: string;
  /**
   * Where a server runs on what was restored: starts it, and gives what can be asked. `component` is what a restore
   * goes to, and is compared before.
   */
  serve?(ctx: Context): Promise<Component>;
  /** How sure it is that what is done in it has no effect elsewhere; nothing where it was made so. */
  readonly findings?: readonly Finding[];
  /** Of services that stay: removes what came in, and tells what stayed. Disposing does so too, and tells nobody. */
  vacate?(ctx: Context): Promise<readonly Finding[]>;
}
/** What comes into a sandbox, for runners whose services are there before and after it. */
export interface Guest {
  readonly component: string;
  readonly point: string;
  /** As the point says it of the server that was captured; null when it does not. */
  readonly identity: string | null;
  /** The captured service itself, and its settings. It is asked who it is, and nothing else. */
  readonly captured: Component;
  readonly settings: unknown;
  /** The component in this point or an earlier one; 'missing' when that is gone. */
  open(ctx: Context, point: string): Promise<Source>;
}
export interface SandboxRunner {
  readonly name: string;
  /** A failure to start is never a failure of the point: it proves nothing. The rest is as in `SandboxNeed`. */
  start(ctx: Context, driver: Driver, version: string, settings?: unknown, method?: string): Promise<Sandbox>;
}
