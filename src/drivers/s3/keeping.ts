// What is kept of an earlier point is handed to the store in the order of names, once all of it is known: a store that
// has a million parts in folders looks into each folder once, and not again for every page of a listing.

import { keepAll } from '../../core/many-parts.ts';
import type { Context, Sink, Source } from '../../core/model.ts';
import { lineSorter } from '../../core/sorter.ts';
import { type Entry, partOf } from './entries.ts';
import { objectForm, type PlainNames } from './plain.ts';

export interface Keeper extends AsyncDisposable {
  add(entries: readonly Entry[]): Promise<void>;
  /** Hands all of them to the store. */
  keep(): Promise<void>;
}

export function openKeeper(ctx: Context, sink: Sink, previous: Source | null, plain: PlainNames): Keeper {
  const names = lineSorter(ctx.scratch, 'the list of unchanged objects');
  return {
    async add(entries) {
      await names.add(entries.map((entry) => `${partOf(entry)} ${JSON.stringify([entry.bytes, plain.pathOf(entry)])}`));
    },
    async keep() {
      if (!previous) return;
      const { point, component } = previous;
      for await (const lines of names.sorted()) {
        const parts = lines.map((line) => {
          const space = line.indexOf(' ');
          const name = line.slice(0, space);
          const [bytes, path] = JSON.parse(line.slice(space + 1)) as [number, string[]]; // a line of our own
          return { name, from: { name, bytes, point, component }, meta: { rendition: objectForm(name, path) } };
        });
        await keepAll(ctx, sink, parts);
      }
    },
    [Symbol.asyncDispose]: () => names[Symbol.asyncDispose](),
  };
}
