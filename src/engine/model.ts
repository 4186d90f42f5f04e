// What the use cases are given: opened components and stores, and what their owner promised for them.

import type { Component } from '../core/component.ts';
import type { Driver, Guest, SandboxRunner } from '../core/driver.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import type { Records, Store } from '../core/storage.ts';
import type { Around } from './hooks.ts';

/** How many components are captured, restored or rehearsed at the same time unless told otherwise. */
export const PARALLEL_DEFAULT = 4;

/** The plan of the points taken just before an in-place restore replaces data. Only their id names them. */
export const SAFETY_PLAN = 'safety';

/** A question to a restored service whose answer is one number, and what the answer must be. */
export interface Check {
  readonly name: string;
  readonly sql?: string | undefined;
  readonly command?: string | undefined;
  /** Of those that the component has, by its name in the point. */
  readonly database?: string | undefined;
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  readonly equals?: number | undefined;
}

/** What the owner promises: recovered within, at most this much lost. */
export interface Objective {
  readonly rtoMs?: number | undefined;
  readonly rpoMs?: number | undefined;
}

/** Values of one component that must exist as names in another. */
export interface Reference {
  readonly name: string;
  readonly from: { readonly component: string; readonly sql: string; readonly database?: string | undefined };
  /** `in`: a bucket, an index, a topic, a pattern of keys. */
  readonly to: { readonly component: string; readonly in: string };
  readonly missingMax: number;
  /** Orphans are not counted when left out. */
  readonly orphansMax?: number | undefined;
}

export interface StackComponent {
  readonly name: string;
  readonly kind: string;
  readonly driver: Driver;
  readonly component: Component;
  /** What `component` was opened with; another target of a restore is derived from it. */
  readonly settings: unknown;
  readonly restoreAfter: readonly string[];
  readonly checks: readonly Check[];
  readonly objective?: Objective | undefined;
  /** How often following it leaves a marker in its data; undefined when it is left alone. */
  readonly markersMs?: number | undefined;
  /** Where drills restore it to, when that is not a server that is started for them. */
  readonly sandbox?: ((guest: Guest, records: Records) => SandboxRunner) | undefined;
  readonly hooks?: { readonly capture: Around; readonly restore: Around } | undefined;
}

export interface NamedStore {
  readonly name: string;
  readonly store: Store;
}

/** The components that the point holds data of. */
export function heldBy(point: RecoveryPoint): readonly string[] {
  return Object.keys(point.components).filter((name) => heldIn(point, name) !== undefined);
}

/** Undefined when the point does not know the component, or its capture failed. */
export function heldIn(point: RecoveryPoint, name: string): CapturedComponent | undefined {
  const captured = Object.hasOwn(point.components, name) ? point.components[name] : undefined;
  return captured?.error === null ? captured : undefined;
}
