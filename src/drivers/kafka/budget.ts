// How much of what was read is held at once, whatever the number of partitions and the size of their records.

export interface Budget {
  /** Waits until there is room, in order of arrival. One that is larger than all of it is let in alone. */
  take(bytes: number): Promise<void>;
  /** What is held already: nobody waits for it. */
  add(bytes: number): void;
  give(bytes: number): void;
}

export function budgetOf(bytesMax: number): Budget {
  let held = 0;
  const waiting: { bytes: number; enter: () => void }[] = [];
  function admit(): void {
    for (let [first] = waiting; first && held < bytesMax; [first] = waiting) {
      waiting.shift();
      held += first.bytes;
      first.enter();
    }
  }
  return {
    take(bytes) {
      return new Promise((enter) => {
        waiting.push({ bytes, enter });
        admit();
      });
    },
    add(bytes) {
      held += bytes;
    },
    give(bytes) {
      held -= bytes;
      admit();
    },
  };
}
