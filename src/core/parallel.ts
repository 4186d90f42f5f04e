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
  const running = new Set<Promise<void>>();
  let failed: { error: unknown } | undefined;
  let index = 0;
  try {
    for await (const item of items) {
      const at = index++;
      const job: Promise<void> = work(item, at)
        .then(
          (result) => void (results[at] = result),
          (error: unknown) => void (failed ??= { error }),
        )
        .finally(() => running.delete(job));
      running.add(job);
      if (running.size >= limit) await Promise.race(running);
      if (failed) break;
    }
  } catch (error) {
    failed ??= { error }; // of the items, or of a call that did not even begin
  }
  await Promise.all(running);
  if (failed) throw failed.error;
  return results;
}

/** A gate that lets at most `limit` through at a time. */
export interface Gate {
  run<R>(work: () => Promise<R>): Promise<R>;
}
export function gate(limit: number): Gate {
  let free = limit;
  const waiting: (() => void)[] = [];
  return {
    async run(work) {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else free += 1;
      }
    },
  };
}

/** As `mapBounded`, for more results than fit into memory: they are handed on in order while later ones are made. */
export async function* mapOrdered<T, R>(
  items: AsyncIterable<T>,
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
