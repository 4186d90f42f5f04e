import { readAll } from '../../core/bytes.ts';
import type { Bytes } from '../../core/model.ts';
import type { Bucket, ObjectInfo } from '../../core/storage.ts';
import { checkKey, checkPrefix, checkRange, missing, missingRange, sortByBytes, taken } from '../keys.ts';

const OBJECT_BYTES_MAX = 2 ** 31;
const CHUNK_BYTES = 64 * 1024;

/** A bucket that is gone with the process: for tests and try-outs. */
export function memoryBucket(): Bucket {
  const url = 'memory:';
  const held = new Map<string, { info: ObjectInfo; data: Buffer }>();
  function find(key: string): { info: ObjectInfo; data: Buffer } {
    checkKey(key);
    const found = held.get(key);
    if (!found) throw missing(url, key);
    return found;
  }
  function keysBelow(prefix: string): string[] {
    checkPrefix(prefix);
    const keys = [...held.keys()].filter((key) => key.startsWith(prefix));
    return sortByBytes(keys, (key) => key);
  }
  const bucket: Bucket = {
    url,
    async put(ctx, key, body, options) {
      checkKey(key);
      const data = body instanceof Uint8Array ? Buffer.from(body) : await readAll(body, OBJECT_BYTES_MAX);
      ctx.signal.throwIfAborted();
      if (options?.ifAbsent && held.has(key)) throw taken(url, key);
      const info = { key, bytes: data.length, modifiedAt: ctx.now() };
      held.set(key, { info, data });
      return info;
    },
    async *get(ctx, key, range): Bytes {
      checkRange(range);
      const { data } = find(key);
      const { offset, length } = range ?? { offset: 0, length: data.length };
      const end = offset + length;
      if (end > data.length) throw missingRange(url, key, range);
      for (let at = offset; at < end; at += CHUNK_BYTES) {
        ctx.signal.throwIfAborted();
        yield Buffer.from(data.subarray(at, Math.min(end, at + CHUNK_BYTES)));
      }
    },
    async head(_ctx, key) {
      return find(key).info;
    },
    async *list(ctx, prefix) {
      for (const key of keysBelow(prefix)) {
        ctx.signal.throwIfAborted();
        const found = held.get(key);
        if (found) yield found.info;
      }
    },
    async *folders(_ctx, prefix) {
      const segments = keysBelow(prefix).map((key) => key.slice(prefix.length).split('/'));
      yield* new Set(segments.filter((each) => each.length > 1).map(([first]) => `${first}/`));
    },
    async *files(_ctx, prefix) {
      const direct = keysBelow(prefix).filter((key) => !key.includes('/', prefix.length));
      for (const key of direct) yield find(key).info;
    },
    async delete(_ctx, key) {
      checkKey(key);
      held.delete(key);
    },
    async deleteAll(_ctx, keys) {
      for (const key of keys) {
        checkKey(key);
        held.delete(key);
      }
      return [];
    },
    async close() {},
  };
  return {
    ...bucket,
    async putAll(ctx, objects) {
      for (const { key, body } of objects) await bucket.put(ctx, key, body);
    },
  };
}
