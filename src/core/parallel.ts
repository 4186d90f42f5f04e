/**
 * Maps with at most `limit` calls in flight; results keep the order of the inputs. The first failure stops new
 * calls, the ones in flight are awaited, and it is thrown: nothing runs on behind the caller's back.
 */
export async function mapBounded<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let failed: { error: unknown } | undefined;
  let index = 0;
  let ended = false;
  async function run(): Promise<void> {
    try {
      while (!failed && !ended) {
        const next = await iterator.next();
        if (next.done) ended = true;
        if (failed || next.done) return;
        const at = index++;
        results[at] = await work(next.value, at);
      }
    } catch (error) {
      failed ??= { error };
    }
  }
  await Promise.all(Array.from({ length: limit }, run));
  if (!failed) return results;
  try {
    await iterator.return?.();
  } catch {} // the first failure is the cause
  throw failed.error;
}

/** A gate that lets at most `limit` through at a time, in order of arrival. */
export interface Gate {
  /** `weight`: what it takes of the limit, 1 unless told; it enters while anything is left, so that all may enter. */
  run<R>(work: () => Promise<R>, weight?: number): Promise<R>;
}
export function gate(limit: number): Gate {
  let free = limit;
  const waiting: { readonly weight: number; readonly enter: () => void }[] = [];
  return {
    async run(work, weight = 1) {
      if (free > 0) free -= weight;
      else await new Promise<void>((enter) => waiting.push({ weight, enter }));
      try {
        return await work();
      } finally {
        free += weight;
        for (let next = waiting[0]; next && free > 0; next = waiting[0]) {
          waiting.shift();
          free -= next.weight;
          next.enter();
        }
      }
    },
  };
}

/** As `mapBounded`, for more results than fit into memory: they are handed on in order while later ones are made. */
export async function* mapOrdered<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  work: (item: T) => Promise<R>,
): AsyncIterable<R> {
  const running: Promise<R>[] = [];
  try {
    for await (const item of items) {
      const job = work(item);
      job.catch(() => undefined); // thrown below when its turn comes
      running.push(job);
      if (running.length < limit) continue;
      yield await (running.shift() as Promise<R>);
    }
    while (running.length > 0) yield await (running.shift() as Promise<R>);
  } finally {
    await Promise.allSettled(running);
  }
}
