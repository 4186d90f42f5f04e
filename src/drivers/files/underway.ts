/** Work that goes on while its starter does something else. All of it has ended once this is disposed of. */
export interface Underway extends AsyncDisposable {
  /** Starts it as soon as there is room; throws as `check` does instead when anything has failed. */
  add(work: () => Promise<void>): Promise<void>;
  /** Throws what has failed first. */
  check(): void;
  /** Waits for all of it, and throws what has failed first. */
  end(): Promise<void>;
}

export function underway(limit: number): Underway {
  const running = new Set<Promise<void>>();
  let failed: { readonly error: unknown } | undefined;
  function check(): void {
    if (failed) throw failed.error;
  }
  async function run(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      failed ??= { error };
    }
  }
  return {
    async add(work) {
      while (running.size >= limit) await Promise.race(running);
      check();
      const one = run(work).then(() => void running.delete(one));
      running.add(one);
    },
    check,
    async end() {
      await Promise.all(running);
      check();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(running);
    },
  };
}
