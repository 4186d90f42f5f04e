// Reads the parts of a committed point. Every read goes through the whole stored object, because its checksum is of the
// whole: a range is cut out of that.

import { hash } from 'node:crypto';
import { measured, readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { tooLarge, WHOLE_BYTES_MAX } from '../../core/many-parts.ts';
import type { ByteRange, Bytes, Context, Source } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import type { Bucket } from '../../core/storage.ts';
import { type Entry, partOf, placeIn } from './entries.ts';
import { gunzipped } from './gzip.ts';
import type { PartIndex } from './index.ts';

const READS_AT_ONCE = 16;
/** Of parts that are given together. */
const GROUP_PARTS = 256;
const GROUP_BYTES = 1024 * 1024;

export function openSource(bucket: Bucket, point: string, component: string, index: PartIndex): Source {
  const where = `${point}/${component}`;
  const find = (ctx: Context, name: string): Promise<Entry> => findEntry(ctx, index, where, name);
  return {
    point,
    component,
    async *parts(ctx, prefix = '') {
      for await (const entry of index.entries(ctx, prefix)) {
        if (!entry.name.startsWith(prefix)) return;
        yield partOf(entry, point, component);
      }
    },
    part: async (ctx, name) => partOf(await find(ctx, name), point, component),
    async *get(ctx, name, range) {
      const entry = await find(ctx, name);
      const what = `${where}/${name}`;
      if (range && range.offset + range.length > entry.bytes) {
        throw new Failure('missing', `${what} has ${entry.bytes} bytes: a range ends past them`);
      }
      const content = contentOf(ctx, bucket, entry, what);
      yield* range ? cut(content, range) : content;
    },
    getAll: (ctx, names) =>
      grouped(
        mapOrdered(names, READS_AT_ONCE, async (name) =>
          wholeOf(ctx, bucket, await find(ctx, name), `${where}/${name}`),
        ),
      ),
  };
}

/** `where`: the point and the component, for messages. */
export async function findEntry(ctx: Context, index: PartIndex, where: string, name: string): Promise<Entry> {
  const entry = await index.find(ctx, name);
  if (!entry) throw new Failure('missing', `${where} has no part ${name}`);
  return entry;
}

/** What was put once, unpacked. Ends in 'checksum' unless both the stored bytes and the content are what they were. */
export async function* contentOf(ctx: Context, bucket: Bucket, entry: Entry, what: string): Bytes {
  const stored = measured(bucket.get(ctx, entry.key, placeIn(entry)));
  if (!entry.gzip) {
    yield* stored.body;
    if (!isSame(stored.sum(), entry.stored)) throw changed(what);
    return;
  }
  const content = measured(gunzipped(stored.body, what, entry.bytes));
  yield* content.body;
  if (!isSame(content.sum(), entry) || !isSame(stored.sum(), entry.stored)) throw changed(what);
}

/** The same of a small part, in one piece. 'malformed' for one that is too large for that. */
async function wholeOf(ctx: Context, bucket: Bucket, entry: Entry, what: string): Promise<Buffer> {
  if (entry.bytes > WHOLE_BYTES_MAX) throw tooLarge(what, entry.bytes);
  if (!entry.gzip) return await wholeStored(ctx, bucket, entry, what);
  return await readAll(contentOf(ctx, bucket, entry, what), entry.bytes);
}

/** What lies in the bucket of a small part. Never more than was put there once: 'checksum' unless it is that. */
export async function wholeStored(ctx: Context, bucket: Bucket, entry: Entry, what: string): Promise<Buffer> {
  const { bytes, sha256 } = entry.stored;
  try {
    const whole = await readAll(bucket.get(ctx, entry.key, placeIn(entry)), bytes);
    if (isSame({ bytes: whole.length, sha256: hash('sha256', whole) }, { bytes, sha256 })) return whole;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // else it has more
  }
  throw changed(what);
}

/** Some at a time; those before a failure are given before it is thrown. */
async function* grouped(wholes: AsyncIterable<Buffer>): AsyncIterable<readonly Uint8Array[]> {
  let group: Buffer[] = [];
  let bytes = 0;
  let failed: { readonly error: unknown } | undefined;
  try {
    for await (const whole of wholes) {
      group.push(whole);
      bytes += whole.length;
      if (group.length < GROUP_PARTS && bytes < GROUP_BYTES) continue;
      yield group;
      group = [];
      bytes = 0;
    }
  } catch (error) {
    failed = { error };
  }
  if (group.length > 0) yield group;
  if (failed) throw failed.error;
}

interface Sum {
  readonly bytes: number;
  readonly sha256: string;
}

function isSame(a: Sum, b: Sum): boolean {
  return a.bytes === b.bytes && a.sha256 === b.sha256;
}

export function changed(what: string): Failure {
  return new Failure('checksum', `${what} is not what was committed`, {
    hint: 'run lifeboat verify --all --read-data',
  });
}

async function* cut(body: Bytes, range: ByteRange): Bytes {
  const end = range.offset + range.length;
  let at = 0;
  for await (const chunk of body) {
    const part = chunk.subarray(Math.max(0, range.offset - at), Math.max(0, end - at));
    if (part.length > 0) yield part;
    at += chunk.length;
  }
}
