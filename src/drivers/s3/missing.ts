// What a restore could not bring back, each named with its reason.

const NAMED_MAX = 1000;

export interface Missing {
  add(reasons: readonly string[]): void;
  /** Of an object; the first of them is what is thrown when nothing at all could be written. */
  refused(name: string, error: Error): void;
  throwFirst(): void;
  list(): string[];
}

export function missingList(): Missing {
  const texts: string[] = [];
  let more = 0;
  let first: Error | undefined;
  const add = (reasons: readonly string[]): void => {
    for (const reason of reasons) if (texts.push(reason) > NAMED_MAX) more += texts.splice(NAMED_MAX).length;
  };
  return {
    add,
    refused(name, error) {
      first ??= error;
      add([`${name}: ${error.message}`]);
    },
    throwFirst() {
      if (first) throw first;
    },
    list: () => (more === 0 ? texts : [...texts, `and ${more} more`]),
  };
}
