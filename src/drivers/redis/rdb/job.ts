// What the thread that walks an RDB is asked for, and what it says.

import type { ErrorCode } from '../../../core/errors.ts';
import type { InventoryLevel, InventoryLine, Row } from '../../../core/model.ts';
import type { CommandOptions } from './commands.ts';
import type { KeySelection } from './select.ts';
import type { Format } from './visitor.ts';

export type Job =
  | { readonly kind: 'tally'; readonly level: InventoryLevel; readonly databases: readonly number[] | null }
  | { readonly kind: 'commands'; readonly options: CommandOptions }
  | { readonly kind: 'rows'; readonly select: KeySelection };

export interface Result {
  readonly format: Format;
  /** 'redis-ver', 'ctime', 'used-mem' … */
  readonly aux: Readonly<Record<string, string>>;
  /** Of a tally. */
  readonly lines: readonly InventoryLine[];
  readonly totals: Readonly<Record<string, number>>;
  /** Of commands: what could not be turned into any. */
  readonly modules: ReadonlyMap<string, number>;
  readonly ownData: ReadonlySet<string>;
  readonly fieldExpiries: number;
  readonly expired: number;
  readonly keys: number;
}

export interface Outputs {
  readonly commands?: { readonly bytes: Uint8Array; readonly count: number };
  readonly row?: Row;
}

export type ToWalker = { readonly chunk: Uint8Array } | { readonly end: true };
export type FromWalker =
  | { readonly taken: Uint8Array }
  | { readonly output: Outputs }
  | { readonly result: Result }
  | { readonly failure: { readonly code: ErrorCode; readonly message: string; readonly hint: string | undefined } }
  | { readonly bug: unknown };

/** Indices of the shared words. */
export const SENT = 0;
export const ANSWERED = 1;
/** Outputs that may wait for their consumer. */
export const OUTPUTS_MAX = 8;
