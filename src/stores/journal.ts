// The journals of a store. docs/format-journal.md is their contract; what a store adds is how it seals.

import type { Journal } from '../core/journal.ts';
import type { Context, Finding } from '../core/model.ts';
import type { CheckOptions, Store } from '../core/storage.ts';
import { readableLineages } from './journal-lineages.ts';
import { componentFolder, type JournalVault, journalNames } from './journal-names.ts';
import { entriesOf, readRanges, stretchesOf } from './journal-reading.ts';

interface Journals extends Pick<Store, 'journal' | 'journals'> {
  check(ctx: Context, options: CheckOptions): AsyncIterable<Finding>;
}

/** What writes, prunes and checks is loaded when it is used: most commands only look. */
export function storeJournals(vault: JournalVault): Journals {
  return {
    journals: (ctx) => journalNames(ctx, vault),
    async *check(ctx, options) {
      const { checkJournals } = await import('./journal-check.ts');
      yield* checkJournals(ctx, vault, options);
    },
    journal(component): Journal {
      componentFolder(vault, component); // a name that is none is a bug
      return {
        async write(ctx) {
          const { openWriter } = await import('./journal-writing.ts');
          return await openWriter(ctx, vault, component);
        },
        async *lineages(ctx) {
          for await (const { lineage } of readableLineages(ctx, vault, component)) yield lineage;
        },
        stretches: (ctx) => stretchesOf(ctx, vault, component),
        async arrived(ctx, lineage, at) {
          const { arrivedIn } = await import('./journal-arrivals.ts');
          return await arrivedIn(ctx, vault, { component, lineage }, at);
        },
        read: (ctx, from, to) => readRanges(ctx, vault, component, from, to),
        entries: (ctx, from) => entriesOf(ctx, vault, component, from),
        async prune(ctx, kept, options) {
          const { pruneJournal } = await import('./journal-pruning.ts');
          return await pruneJournal(ctx, vault, component, kept, options);
        },
        async forget(ctx) {
          const { forgetJournal } = await import('./journal-pruning.ts');
          return await forgetJournal(ctx, vault, component);
        },
      };
    },
  };
}
