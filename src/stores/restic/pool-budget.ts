/** Counts what is under way, so that who would add more waits, first come first served. */
export interface Budget {
  /** Waits until less than all is used; then it is used, even if that goes over by one amount. */
  take(amount: number): Promise<void>;
  /** Uses without waiting. */
  add(amount: number): void;
  give(amount: number): void;
  /** Everybody who waits, now and later, is rejected. */
  fail(error: unknown): void;
}

export function budget(max: number): Budget {
  const waiting: { amount: number; resolve(): void; reject(error: unknown): void }[] = [];
  let used = 0;
  let failed: { error: unknown } | undefined;
  return {
    async take(amount) {
      if (failed) throw failed.error;
      if (used < max && waiting.length === 0) used += amount;
      else await new Promise<void>((resolve, reject) => waiting.push({ amount, resolve, reject }));
    },
    add(amount) {
      used += amount;
    },
    give(amount) {
      used -= amount;
      for (let next = waiting[0]; next && used < max; next = waiting[0]) {
        waiting.shift();
        used += next.amount;
        next.resolve();
      }
    },
    fail(error) {
      failed ??= { error };
      for (const { reject } of waiting.splice(0)) reject(failed.error);
    },
  };
}
