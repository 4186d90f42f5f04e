// Several parts in one file, one behind the other: a single upload that stays open until all have come.

import type { Bytes } from '../../core/model.ts';

export interface JoinedFile {
  /** In the order of these calls, whatever comes of what. Resolves when all of the body is taken, to its beginning. */
  append(body: Bytes): Promise<number>;
  /** There is no more to come. Resolves when the file is stored, to its bytes. */
  close(): Promise<number>;
  /** The file is not to be. Resolves when nothing is written any more. */
  giveUp(): Promise<void>;
}

interface Item {
  readonly body: Bytes;
  taken(offset: number): void;
  lost(error: unknown): void;
}

/** `put` stores the whole file; it is called with the first part. */
export function joinedFile(put: (body: Bytes) => Promise<unknown>): JoinedFile {
  const waiting: Item[] = [];
  let wake = (): void => {};
  let ended: 'no' | 'closed' | 'given up' = 'no';
  let failed: { readonly error: unknown } | undefined;
  let bytes = 0;
  let writing: Promise<unknown> | undefined;

  async function* all(): Bytes {
    for (;;) {
      const item = waiting[0];
      if (ended === 'given up') throw new Error('the file was given up');
      if (item) {
        const offset = bytes;
        for await (const chunk of item.body) {
          bytes += chunk.length;
          yield chunk;
        }
        waiting.shift();
        item.taken(offset);
      } else if (ended === 'closed') return;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  }
  function begin(): Promise<unknown> {
    const work = put(all());
    work.catch((error: unknown) => {
      failed = { error };
      for (const { lost } of waiting.splice(0)) lost(error);
    });
    return work;
  }
  return {
    append(body) {
      return new Promise((taken, lost) => {
        if (failed) return lost(failed.error);
        waiting.push({ body, taken, lost });
        writing ??= begin();
        wake();
      });
    },
    async close() {
      ended = 'closed';
      wake();
      await writing;
      return bytes;
    },
    async giveUp() {
      ended = 'given up';
      wake();
      await writing?.catch(() => undefined); // as it should
    },
  };
}
