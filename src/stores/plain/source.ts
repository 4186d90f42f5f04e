// Reads the parts of a committed point. Every read goes through the whole stored object, because its checksum is of the
// whole: a range is cut out of that.

import { measured } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { ByteRange, Bytes, Context, Source } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { type Entry, partOf, placeIn } from './entries.ts';
import { gunzipped } from './gzip.ts';
import type { PartIndex } from './index.ts';

export function openSource(bucket: Bucket, point: string, component: string, index: PartIndex): Source {
  const find = async (ctx: Context, name: string): Promise<Entry> =>
    await findEntry(ctx, index, point, component, name);
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
      const what = `${point}/${component}/${name}`;
      if (range && range.offset + range.length > entry.bytes) {
        throw new Failure('missing', `${what} has ${entry.bytes} bytes: a range ends past them`);
      }
      const content = contentOf(ctx, bucket, entry, what);
      yield* range ? cut(content, range) : content;
    },
  };
}

export async function findEntry(
  ctx: Context,
  index: PartIndex,
  point: string,
  component: string,
  name: string,
): Promise<Entry> {
  const entry = await index.find(ctx, name);
  if (!entry) throw new Failure('missing', `${point}/${component} has no part ${name}`);
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

interface Sum {
  readonly bytes: number;
  readonly sha256: string;
}

function isSame(a: Sum, b: Sum): boolean {
  return a.bytes === b.bytes && a.sha256 === b.sha256;
}

function changed(what: string): Failure {
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
