// Lists that are too long for memory lie in runs, each in order: here they become one list.

const BATCH_ITEMS = 1000;

interface Head<T> {
  readonly iterator: AsyncIterator<readonly T[]>;
  items: readonly T[];
  at: number;
}

/** The sources come in order, some items at a time, and so does what they give together. It closes them. */
export async function* merged<T>(
  sources: readonly AsyncIterable<readonly T[]>[],
  order: (a: T, b: T) => number,
): AsyncIterable<readonly T[]> {
  const all: Head<T>[] = sources.map((source) => ({ iterator: source[Symbol.asyncIterator](), items: [], at: 0 }));
  try {
    const filled = await Promise.all(all.map(refill));
    let heads = all.filter((_, i) => filled[i]);
    let out: T[] = [];
    for (let least = leastOf(heads, order); least; least = leastOf(heads, order)) {
      out.push(itemOf(least));
      least.at += 1;
      if (least.at === least.items.length && !(await refill(least))) heads = heads.filter((head) => head !== least);
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

function leastOf<T>(heads: readonly Head<T>[], order: (a: T, b: T) => number): Head<T> | undefined {
  let [least] = heads;
  for (const head of heads) if (least && order(itemOf(head), itemOf(least)) < 0) least = head;
  return least;
}

function itemOf<T>({ items, at }: Head<T>): T {
  return items[at] as T; // a head has one as long as it is among the heads
}
