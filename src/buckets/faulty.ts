import { readAll } from '../core/bytes.ts';
import { Failure, messageOf } from '../core/errors.ts';
import type { Bytes } from '../core/model.ts';
import type { Bucket, ObjectInfo, SmallObject } from '../core/storage.ts';
import { checkKey, missingRange } from './keys.ts';

export type BucketOperation = 'put' | 'get' | 'head' | 'list' | 'folders' | 'delete' | 'thaw';

/** What goes wrong. Read anew at each call, so that a test can change its mind. */
export interface Faults {
  /** So many changes (puts, deletions by key) are made; at the next one the machine dies for good. */
  changesMax?: number;
  /** Thrown instead of doing it. */
  fail?: (operation: BucketOperation, key: string) => Failure | undefined;
  /** The change is made, but its caller hears 'unreachable'. */
  loseReply?: (operation: 'put' | 'delete', key: string) => boolean;
  /** What a reader gets in place of the whole object. */
  damage?: (key: string, whole: Buffer) => Uint8Array;
  /** A read breaks off as 'unreachable' after so many bytes. */
  breakOff?: (key: string) => number | undefined;
  /** What a listing shows in place of the truth. */
  listing?: (objects: readonly ObjectInfo[]) => readonly ObjectInfo[];
}
export interface FaultyBucket extends Bucket {
  /** Changes that were made or asked for. */
  changes(): number;
}

const READ_BYTES_MAX = 256 * 1024 * 1024;

/** Wraps a bucket with the faults of the world, for tests. */
export function faultyBucket(inner: Bucket, faults: Faults): FaultyBucket {
  let changes = 0;
  let dead = false;
  function meet(operation: BucketOperation, key: string): void {
    if (operation === 'put' || operation === 'delete') {
      changes += 1;
      if (faults.changesMax !== undefined && changes > faults.changesMax) dead = true;
    }
    if (dead) throw new Failure('unreachable', `the machine died at change ${(faults.changesMax ?? 0) + 1}`);
    const failure = faults.fail?.(operation, key);
    if (failure) throw failure;
  }
  function reply(operation: 'put' | 'delete', key: string): void {
    if (faults.loseReply?.(operation, key)) {
      throw new Failure('unreachable', `${inner.url}: no reply to ${operation} ${key}`);
    }
  }
  const bucket: FaultyBucket = {
    url: inner.url,
    changes: () => changes,
    async put(ctx, key, body, options) {
      meet('put', key);
      const info = await inner.put(ctx, key, body, options);
      reply('put', key);
      return info;
    },
    async *get(ctx, key, range): Bytes {
      meet('get', key);
      let body = inner.get(ctx, key, range);
      if (faults.damage) {
        const whole = faults.damage(key, await readAll(inner.get(ctx, key), READ_BYTES_MAX));
        const end = range ? range.offset + range.length : whole.length;
        if (end > whole.length) throw missingRange(inner.url, key, range);
        body = (async function* () {
          yield whole.subarray(range?.offset ?? 0, end);
        })();
      }
      yield* brokenOff(body, key, faults.breakOff?.(key));
    },
    async head(ctx, key) {
      meet('head', key);
      return await inner.head(ctx, key);
    },
    async *list(ctx, prefix) {
      meet('list', prefix);
      if (faults.listing) yield* faults.listing(await Array.fromAsync(inner.list(ctx, prefix)));
      else yield* inner.list(ctx, prefix);
    },
    async *folders(ctx, prefix) {
      meet('folders', prefix);
      yield* inner.folders(ctx, prefix);
    },
    async *files(ctx, prefix) {
      meet('list', prefix);
      yield* inner.files(ctx, prefix);
    },
    async delete(ctx, key) {
      meet('delete', key);
      await inner.delete(ctx, key);
      reply('delete', key);
    },
    async deleteAll(ctx, keys) {
      for (const key of keys) checkKey(key);
      const failed: { key: string; reason: string }[] = [];
      for (const key of keys) {
        try {
          await bucket.delete(ctx, key);
        } catch (error) {
          if (dead) throw error;
          failed.push({ key, reason: messageOf(error) });
        }
      }
      return failed;
    },
    close: () => inner.close(),
  };
  const { thaw, putAll } = inner;
  return {
    ...bucket,
    ...(putAll && { putAll: manyMet(putAll, meet, reply) }),
    ...(thaw && {
      async thaw(ctx, key, request) {
        meet('thaw', key);
        await thaw(ctx, key, request);
      },
    }),
  };
}

/** Those before the one that fails are put. */
function manyMet(
  putAll: NonNullable<Bucket['putAll']>,
  meet: (operation: 'put', key: string) => void,
  reply: (operation: 'put', key: string) => void,
): NonNullable<Bucket['putAll']> {
  return async (ctx, objects) => {
    const met: SmallObject[] = [];
    try {
      for (const object of objects) {
        meet('put', object.key);
        met.push(object);
      }
    } finally {
      if (met.length > 0) await putAll(ctx, met);
    }
    for (const { key } of objects) reply('put', key);
  };
}

async function* brokenOff(body: Bytes, key: string, bytesMax = Number.POSITIVE_INFINITY): Bytes {
  let left = bytesMax;
  for await (const chunk of body) {
    if (chunk.length > left) {
      if (left > 0) yield chunk.subarray(0, left);
      throw new Failure('unreachable', `the connection broke while ${key} was read`);
    }
    left -= chunk.length;
    yield chunk;
  }
}
