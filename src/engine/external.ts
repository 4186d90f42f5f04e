// Data of points that lies outside our stores, such as snapshots that a search cluster keeps: checked with the point,
// and released when the last store has forgotten it.

import { z } from 'zod';
import type { Component } from '../core/component.ts';
import { messageOf } from '../core/errors.ts';
import type { Context, Json } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { FindingsBook } from './findings.ts';
import { heldIn, type NamedStore } from './model.ts';

/** The configured component of that name and kind, or null. Asked for only when it is needed: it may have secrets. */
export type ComponentOf = (name: string, kind: string) => Promise<Component | null>;

const NOT_CONFIGURED = 'its data lies outside the store, and it is no longer in the configuration';
const releaseSchema = z.object({ kind: z.string(), external: z.custom<Json>() });

/** What the components themselves say of the data that `point` only names. */
export async function checkExternal(
  ctx: Context,
  point: RecoveryPoint,
  componentOf: ComponentOf,
  book: FindingsBook,
): Promise<void> {
  for (const { name, kind, external } of outsideOf(point)) {
    const check = `${point.id}/${name} is there`;
    try {
      const component = await componentOf(name, kind);
      if (component?.check) for await (const finding of component.check(ctx, external)) book.add(finding);
      else book.add({ check, verdict: 'unknown', detail: NOT_CONFIGURED });
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      book.add({ check, verdict: 'unknown', detail: messageOf(error) });
    }
  }
}

/** Written down before the points go: what only a lost manifest names would stay for ever. */
export async function noteReleases(
  ctx: Context,
  { store }: NamedStore,
  points: readonly RecoveryPoint[],
): Promise<void> {
  for (const point of points) {
    for (const { name, kind, external } of outsideOf(point)) {
      await store.records.put(ctx, 'releases', `${point.id}/${name}`, { kind, external });
    }
  }
}

export interface Unreleased {
  readonly point: string;
  readonly component: string;
  readonly error: unknown;
}

/**
 * Releases what `from` notes, unless a point that names it is still in one of `stores`: its own removal will. What
 * fails stays noted, and is tried again by the next run.
 */
export async function releaseNoted(
  ctx: Context,
  from: NamedStore,
  stores: readonly NamedStore[],
  componentOf: ComponentOf,
): Promise<readonly Unreleased[]> {
  const failed: Unreleased[] = [];
  const notes = await Array.fromAsync(from.store.records.list(ctx, 'releases'));
  const held = notes.length === 0 ? new Set<string>() : await namedIn(ctx, stores);
  for (const key of notes) {
    const [point = '', component = ''] = key.split('/');
    try {
      if (!held.has(key)) await release(ctx, from, key, component, componentOf);
      await from.store.records.delete(ctx, 'releases', key);
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      failed.push({ point, component, error });
    }
  }
  return failed;
}

async function release(
  ctx: Context,
  { store }: NamedStore,
  key: string,
  name: string,
  componentOf: ComponentOf,
): Promise<void> {
  const { kind, external } = releaseSchema.parse(await store.records.get(ctx, 'releases', key));
  const component = await componentOf(name, kind);
  if (!component?.release) throw new Error(NOT_CONFIGURED);
  await component.release(ctx, external);
}

async function namedIn(ctx: Context, stores: readonly NamedStore[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const { store } of stores) {
    for await (const point of store.list(ctx))
      for (const { name } of outsideOf(point)) found.add(`${point.id}/${name}`);
  }
  return found;
}

function outsideOf(point: RecoveryPoint): { readonly name: string; readonly kind: string; readonly external: Json }[] {
  return Object.keys(point.components).flatMap((name) => {
    const captured = heldIn(point, name);
    return captured && captured.external !== null ? [{ name, kind: captured.kind, external: captured.external }] : [];
  });
}
