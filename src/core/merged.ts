// Lists that are too long for memory lie in runs, each in order: here they become one list.

const BATCH_ITEMS = 1000;

interface Head<T> {
  /** Its place among the sources. */
  readonly source: number;
  readonly iterator: AsyncIterator<readonly T[]>;
  items: readonly T[];
  at: number;
}

/**
 * The sources come in order, some items at a time, and so does what they give together; of equal items those of earlier
 * sources first. It closes them.
 */
export async function* merged<T>(
  sources: readonly AsyncIterable<readonly T[]>[],
  order: (a: T, b: T) => number,
): AsyncIterable<readonly T[]> {
  const all = sources.map((source, i): Head<T> => {
    return { source: i, iterator: source[Symbol.asyncIterator](), items: [], at: 0 };
  });
  try {
    const filled = await Promise.all(all.map(refill));
    const heap = all.filter((_, i) => filled[i]);
    for (let at = heap.length >> 1; at-- > 0; ) sink(heap, at, order);
    let out: T[] = [];
    for (let [least] = heap; least; [least] = heap) {
      out.push(itemOf(least));
      least.at += 1;
      if (least.at === least.items.length && !(await refill(least))) {
        const last = heap.pop();
        if (last && last !== least) heap[0] = last;
      }
      sink(heap, 0, order);
      if (out.length < BATCH_ITEMS) continue;
      yield out;
      out = [];
    }
    if (out.length > 0) yield out;
  } finally {
    await Promise.all(all.map(({ iterator }) => iterator.return?.()));
  }
}

/** False at the end of the source. */
async function refill<T>(head: Head<T>): Promise<boolean> {
  for (;;) {
    const next = await head.iterator.next();
    if (next.done) return false;
    head.items = next.value;
    head.at = 0;
    if (head.items.length > 0) return true;
  }
}

/** The children of `n` are 2n+1 and 2n+2, none before its parent: what stands at `at` goes down to where it belongs. */
function sink<T>(heap: Head<T>[], at: number, order: (a: T, b: T) => number): void {
  const isBefore = (a: Head<T>, b: Head<T>): boolean => {
    const which = order(itemOf(a), itemOf(b));
    return which < 0 || (which === 0 && a.source < b.source);
  };
  const sinking = heap[at];
  for (let parent = at; sinking; ) {
    const [left, right] = [heap[2 * parent + 1], heap[2 * parent + 2]];
    const child = left && right && isBefore(right, left) ? right : left;
    if (!child || isBefore(sinking, child)) return;
    const next = 2 * parent + (child === left ? 1 : 2);
    heap[parent] = child;
    heap[next] = sinking;
    parent = next;
  }
}

function itemOf<T>({ items, at }: Head<T>): T {
  return items[at] as T; // a head has one as long as it is among the heads
}
