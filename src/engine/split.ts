// One stream for several readers, in step: the next chunk is taken when every reader that is still there has asked for
// it. So the slowest sets the pace, nothing is copied, and a borrowed chunk stays valid for all.

import type { Bytes } from '../core/model.ts';

export interface Split {
  /** One for each reader; each is to be read once. */
  readonly branches: readonly Bytes[];
  /** This reader reads no more; the others go on. */
  leave(branch: number): void;
}

interface Waiting {
  resolve(result: IteratorResult<Uint8Array>): void;
  reject(error: unknown): void;
}

export function split(body: Bytes, readers: number): Split {
  const source = body[Symbol.asyncIterator]();
  const present = new Set(Array.from({ length: readers }, (_, at) => at));
  const waiting = new Map<number, Waiting>();
  let broken: { error: unknown } | undefined;
  let ended = false;

  function step(): void {
    if (ended || waiting.size < present.size || present.size === 0) return;
    const asked = [...waiting.values()];
    waiting.clear();
    source.next().then(
      (result) => {
        ended = result.done === true;
        for (const each of asked) each.resolve(result);
      },
      (error: unknown) => {
        ended = true;
        broken = { error };
        for (const each of asked) each.reject(error);
      },
    );
  }

  function leave(branch: number): void {
    if (!present.delete(branch)) return;
    waiting.get(branch)?.resolve({ done: true, value: undefined });
    waiting.delete(branch);
    if (ended) return;
    if (present.size > 0) {
      step();
      return;
    }
    ended = true;
    // Nobody reads on. Closing tells the source so; what it has to say then helps no one.
    void Promise.resolve(source.return?.()).catch(() => undefined);
  }

  function branch(at: number): Bytes {
    const iterator: AsyncIterator<Uint8Array> = {
      next: () => {
        if (broken) return Promise.reject(broken.error);
        if (ended || !present.has(at)) return Promise.resolve({ done: true, value: undefined });
        return new Promise((resolve, reject) => {
          waiting.set(at, { resolve, reject });
          step();
        });
      },
      return: async () => {
        leave(at);
        return { done: true, value: undefined };
      },
    };
    return { [Symbol.asyncIterator]: () => iterator };
  }

  return { branches: Array.from({ length: readers }, (_, at) => branch(at)), leave };
}
