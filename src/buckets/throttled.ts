import type { Bytes, Context } from '../core/model.ts';
import type { Bucket } from '../core/storage.ts';

/** Lets so many bytes a second through on average, both ways together, however many calls run at once. */
export function throttledBucket(inner: Bucket, options: { readonly bytesPerSecond: number }): Bucket {
  let freeAtMs = Number.NEGATIVE_INFINITY;
  /** First come, first served: each call books the line behind the ones before it. */
  async function pass(ctx: Context, bytes: number): Promise<void> {
    const now = ctx.monotonicMs();
    const startMs = Math.max(now, freeAtMs);
    freeAtMs = startMs + (bytes * 1000) / options.bytesPerSecond;
    if (startMs > now) await ctx.sleep(startMs - now);
  }
  async function* paced(ctx: Context, body: Bytes): Bytes {
    for await (const chunk of body) {
      await pass(ctx, chunk.length);
      yield chunk;
    }
  }
  const { putAll } = inner;
  const bucket: Bucket = {
    ...inner,
    async put(ctx, key, body, options) {
      if (!(body instanceof Uint8Array)) return await inner.put(ctx, key, paced(ctx, body), options);
      await pass(ctx, body.length);
      return await inner.put(ctx, key, body, options);
    },
    get: (ctx, key, range) => paced(ctx, inner.get(ctx, key, range)),
  };
  if (!putAll) return bucket;
  return {
    ...bucket,
    async putAll(ctx, objects) {
      await pass(
        ctx,
        objects.reduce((sum, { body }) => sum + body.length, 0),
      );
      await putAll(ctx, objects);
    },
  };
}
