// The recovery point, as its manifest says it.

import type { Cut, InventoryLevel, JournalPoint, Json } from './model.ts';

/** The manifest: one moment of the stack. Once committed it never changes. See docs/format.md. */
export interface RecoveryPoint {
  readonly format: 1;
  readonly id: string; // '2026-11-21-020000', UTC
  readonly stack: string;
  readonly plan: string | null;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly skewMs: number;
  readonly status: 'complete' | 'partial';
  /** The application's version, if the configuration names one. */
  readonly version: string | null;
  /** Times of the plan since its point before that have none; null when there are none, or that is not known. */
  readonly missed: MissedSlots | null;
  readonly components: Readonly<Record<string, CapturedComponent>>;
}
export interface MissedSlots {
  /** At most 10 000. */
  readonly count: number;
  /** RFC 3339. */
  readonly first: string;
  readonly last: string;
}
export interface CapturedComponent {
  readonly kind: string;
  /** Null when the capture succeeded; else the point has no parts of it. */
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly serverVersion: string | null;
  readonly identity: string | null;
  readonly method: string | null;
  readonly cut: Cut | null;
  readonly inventoryLevel: InventoryLevel | null;
  readonly totals: Readonly<Record<string, number>>;
  readonly parts: { readonly count: number; readonly bytes: number };
  readonly durationMs: number;
  readonly warnings: readonly string[];
  /** Where its data lies when that is not in our store, in the driver's own words; else null. */
  readonly external: Json | null;
  /** Where it joins the log of its service; null where it joins none. */
  readonly journal: JournalPoint | null;
}
