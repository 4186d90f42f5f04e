// Small objects that are on their way into the bucket while the next ones are read from where they come.

import type { Context } from '../../core/model.ts';
import { putObjects } from '../../core/objects.ts';
import { type Gate, gate } from '../../core/parallel.ts';
import type { Bucket, SmallObject } from '../../core/storage.ts';

/** Of bodies, in memory until they are durable. */
const HELD_BYTES = 16 * 1024 * 1024;

export interface Behind {
  /** Resolves when the bodies are the caller's again. They are put once `ready` resolves. */
  put(ctx: Context, objects: readonly SmallObject[], ready: Promise<unknown>): Promise<void>;
  /** Throws the first failure of any put. */
  check(): void;
  /** Resolves when nothing of what was taken until now is put any more, however that ended. */
  end(): Promise<void>;
}
/** For all components of a draft: what they hold together is bounded. */
export function heldGate(): Gate {
  return gate(HELD_BYTES);
}

export function behind(bucket: Bucket, held: Gate): Behind {
  const running = new Set<Promise<unknown>>();
  let failed: { readonly error: unknown } | undefined;
  return {
    async put(ctx, objects, ready) {
      const taken = Promise.withResolvers<void>();
      const bytes = objects.reduce((sum, { body }) => sum + body.length, 0);
      const job = held.run(async () => {
        const own = copies(objects, bytes);
        taken.resolve();
        await ready;
        if (!failed) await putObjects(ctx, bucket, own);
      }, bytes);
      const settled: Promise<unknown> = job
        .catch((error: unknown) => (failed ??= { error }))
        .finally(() => running.delete(settled));
      running.add(settled);
      await Promise.race([taken.promise, job]);
    },
    check() {
      if (failed) throw failed.error;
    },
    async end() {
      await Promise.all(running);
    },
  };
}

/** In one piece of memory: to make one for each costs more than to fill it. */
function copies(objects: readonly SmallObject[], bytes: number): SmallObject[] {
  const memory = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  return objects.map((object) => {
    const body = memory.subarray(at, at + object.body.length);
    body.set(object.body);
    at += body.length;
    return { ...object, body };
  });
}
