// What holds for the markers of every kind of service.

import assert from 'node:assert/strict';
import type { Component } from '../core/component.ts';
import type { FoundMarker, Marker } from '../core/marker.ts';
import type { Context } from '../core/model.ts';
import { memoryParts } from '../core/testing.ts';

export function numbered(number: number): Marker {
  return { number, at: new Date(Date.parse('2026-11-01T00:00:00.250Z') + number * 1000).toISOString() };
}

export type Marked = Component & Required<Pick<Component, 'mark' | 'marker' | 'unmark'>>;

export function marked(component: Component): Marked {
  const { mark, marker, unmark } = component;
  assert.ok(mark && marker && unmark);
  return { ...component, mark, marker, unmark };
}

/** Nothing may be there that `mark` leaves. `removed` is what `unmark` names. */
export async function markersComeAndGo(
  ctx: Context,
  component: Marked,
  expected: { readonly where: string; readonly removed: readonly string[] },
): Promise<void> {
  const { where, removed } = expected;
  assert.equal(await component.marker(ctx), null);
  assert.deepEqual(await component.unmark(ctx), []);
  for (const number of [1, 2, 3]) await component.mark(ctx, numbered(number));
  assert.deepEqual(await component.marker(ctx), { ...numbered(3), where } satisfies FoundMarker);
  assert.deepEqual(await component.unmark(ctx), removed);
  assert.equal(await component.marker(ctx), null);
  assert.deepEqual(await component.unmark(ctx), []);
}

/** A marker is data like any other. */
export async function markerComesBack(ctx: Context, component: Marked, target: Marked): Promise<void> {
  await component.mark(ctx, numbered(7));
  const { sink, source } = memoryParts();
  await component.capture(ctx, sink);
  await component.mark(ctx, numbered(8));
  await target.restore(ctx, { base: source });
  const { number, at } = (await target.marker(ctx)) ?? {};
  assert.deepEqual({ number, at }, numbered(7));
}

/** Something else bears the name. */
export async function othersAreLeftAlone(ctx: Context, component: Marked, message: RegExp): Promise<void> {
  const works = [() => component.marker(ctx), () => component.mark(ctx, numbered(1)), () => component.unmark(ctx)];
  for (const work of works) await assert.rejects(work, { code: 'exists', message });
}
