import { byteOrder, readAll } from '../core/bytes.ts';
import { type ErrorCode, Failure, isFailure, messageOf } from '../core/errors.ts';
import type { ByteRange, Bytes, Context } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { Bucket, ObjectInfo, PutOptions } from '../core/storage.ts';

export interface RetryOptions {
  /** How long to go on after the first failure. */
  readonly patienceMs?: number | (() => number);
}

const PATIENCE_MS = 15 * 60_000;
const DELAY_MIN_MS = 200;
const DELAY_MAX_MS = 30_000;
const PARALLEL = 8;
const COMPARE_BYTES_MAX = 256 * 1024 * 1024;
const PASSING: readonly ErrorCode[] = ['unreachable', 'timeout', 'clock-skew'];
/** One failure is soon forgotten; who waits longer than this wants to know why. */
const TOLD_AFTER_MS = 2_000;
/** What was tried long enough already, so that retries within retries do not multiply. */
const exhausted = new WeakSet<Failure>();
/** The buckets, each by its options, whose user was told that they fail: many requests fail at once. */
const told = new WeakSet<RetryOptions>();

/** True of what may go away by itself. Missing, denied, full and the like are answers, not accidents. */
function isPassing(error: unknown): error is Failure {
  return isFailure(error) && PASSING.includes(error.code) && !exhausted.has(error);
}

/** Repeats `work` until it succeeds, fails for good, or patience is at an end. `attempt` counts from 1. */
export async function retried<T>(
  ctx: Context,
  options: RetryOptions,
  work: (attempt: number) => Promise<T>,
): Promise<T> {
  const wait = patience(ctx, options);
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      await wait(error);
    }
  }
}

/** Repeats what may go away by itself: puts of buffers, reads from where they broke off, listings, deletions. */
export function retryingBucket(inner: Bucket, options: RetryOptions = {}): Bucket {
  const bucket: Bucket = {
    ...inner,
    put: (ctx, key, body, putOptions) => put(ctx, inner, options, key, body, putOptions),
    get: (ctx, key, range) => get(ctx, inner, options, key, range),
    head: (ctx, key) => retried(ctx, options, () => inner.head(ctx, key)),
    list: (ctx, prefix) =>
      resumed(
        ctx,
        options,
        () => inner.list(ctx, prefix),
        (info) => info.key,
      ),
    folders: (ctx, prefix) =>
      resumed(
        ctx,
        options,
        () => inner.folders(ctx, prefix),
        (name) => name,
      ),
    files: (ctx, prefix) =>
      resumed(
        ctx,
        options,
        () => inner.files(ctx, prefix),
        (info) => info.key,
      ),
    delete: (ctx, key) => retried(ctx, options, () => inner.delete(ctx, key)),
    deleteAll: (ctx, keys) => deleteAll(ctx, inner, options, keys),
  };
  const { thaw, putAll } = inner;
  return {
    ...bucket,
    ...(putAll ? { putAll: (ctx, objects) => retried(ctx, options, () => putAll(ctx, objects)) } : {}),
    ...(thaw ? { thaw: (ctx, key, request) => retried(ctx, options, () => thaw(ctx, key, request)) } : {}),
  };
}

/** Sleeps after a failure that may pass, longer each time; throws any other, and the last one. */
function patience(ctx: Context, options: RetryOptions): (error: unknown) => Promise<void> {
  const { patienceMs = PATIENCE_MS } = options;
  let delayMs = DELAY_MIN_MS;
  let sleptMs = 0;
  let startedMs: number | undefined;
  return async (error) => {
    if (!isPassing(error) || ctx.signal.aborted) throw error;
    startedMs ??= ctx.monotonicMs();
    const elapsedMs = Math.max(sleptMs, ctx.monotonicMs() - startedMs);
    const leftMs = (typeof patienceMs === 'number' ? patienceMs : patienceMs()) - elapsedMs;
    if (leftMs <= 0) {
      exhausted.add(error);
      throw error;
    }
    const long = elapsedMs >= TOLD_AFTER_MS && !told.has(options);
    if (long) told.add(options);
    ctx.log[long ? 'warn' : 'debug']('storage failed, will try again', { reason: error.message, code: error.code });
    // Jitter, so that those who were refused together do not come back together.
    const waitMs = Math.min(leftMs, delayMs * (0.5 + Math.random()));
    await ctx.sleep(waitMs);
    sleptMs += waitMs;
    delayMs = Math.min(DELAY_MAX_MS, delayMs * 2);
  };
}

async function put(
  ctx: Context,
  inner: Bucket,
  options: RetryOptions,
  key: string,
  body: Bytes | Uint8Array,
  putOptions: PutOptions | undefined,
): Promise<ObjectInfo> {
  if (!(body instanceof Uint8Array)) return await inner.put(ctx, key, body, putOptions);
  return await retried(ctx, options, async (attempt) => {
    try {
      return await inner.put(ctx, key, body, putOptions);
    } catch (error) {
      // The object that stands in the way may be the one that an attempt without a reply has written.
      const same = attempt > 1 && isFailure(error, 'exists') && (await findSame(ctx, inner, options, key, body));
      if (same) return same;
      throw error;
    }
  });
}

async function findSame(
  ctx: Context,
  inner: Bucket,
  options: RetryOptions,
  key: string,
  body: Uint8Array,
): Promise<ObjectInfo | null> {
  const info = await retried(ctx, options, () => inner.head(ctx, key));
  if (info.bytes !== body.length) return null;
  return (await readAll(get(ctx, inner, options, key), COMPARE_BYTES_MAX)).equals(body) ? info : null;
}

/** Goes on where it broke off. Objects are not changed while they are read, and what is read is checked above. */
async function* get(ctx: Context, inner: Bucket, options: RetryOptions, key: string, range?: ByteRange): Bytes {
  let wait = patience(ctx, options);
  let rest = range;
  let bytes = 0;
  for (;;) {
    try {
      for await (const chunk of inner.get(ctx, key, rest)) {
        bytes += chunk.length;
        rest &&= { offset: rest.offset + chunk.length, length: rest.length - chunk.length };
        wait = patience(ctx, options); // something came: patience begins anew
        yield chunk;
      }
      return;
    } catch (error) {
      await wait(error);
      if (bytes > 0) rest ??= await restOf(ctx, inner, options, key, bytes);
      if (rest?.length === 0) return;
    }
  }
}

async function restOf(ctx: Context, inner: Bucket, options: RetryOptions, key: string, offset: number) {
  const { bytes } = await retried(ctx, options, () => inner.head(ctx, key));
  if (bytes < offset) throw new Failure('different', `${key} in ${inner.url} was replaced while it was read`);
  return { offset, length: bytes - offset };
}

/** What could not be deleted with the others is deleted by itself. */
async function deleteAll(
  ctx: Context,
  inner: Bucket,
  options: RetryOptions,
  keys: readonly string[],
): Promise<readonly { key: string; reason: string }[]> {
  const left = await retried(ctx, options, () => inner.deleteAll(ctx, keys));
  const failed = await mapBounded(left, PARALLEL, async ({ key }) => {
    try {
      await retried(ctx, options, () => inner.delete(ctx, key));
      return [];
    } catch (error) {
      ctx.signal.throwIfAborted();
      return [{ key, reason: messageOf(error) }];
    }
  });
  return failed.flat();
}

/** Begins anew and leaves out what was given already, which is known by the order of the listing. */
async function* resumed<T>(
  ctx: Context,
  options: RetryOptions,
  begin: () => AsyncIterable<T>,
  keyOf: (item: T) => string,
): AsyncIterable<T> {
  const wait = patience(ctx, options);
  let last: string | undefined;
  for (;;) {
    let given = last; // until the listing has passed it
    try {
      for await (const item of begin()) {
        const key = keyOf(item);
        if (given !== undefined && byteOrder(key, given) <= 0) continue;
        given = undefined;
        last = key;
        yield item;
      }
      return;
    } catch (error) {
      await wait(error);
    }
  }
}
