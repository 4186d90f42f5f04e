// What every bucket must do, as plain functions: the suite runs them against ours, `lifeboat doctor --deep` against
// the user's. Each keeps to a folder of its own and clears it away.

import { createHash, randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { bytesOf, readAll } from '../core/bytes.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Bytes, Context } from '../core/model.ts';
import { putObjects } from '../core/objects.ts';
import { mapBounded } from '../core/parallel.ts';
import type { Bucket } from '../core/storage.ts';
import { broken, GENERATED_CHUNK_BYTES, generated, generatedRange, pieces } from './bodies.ts';

export interface BucketCheck {
  readonly title: string;
  /** Throws when the bucket does otherwise. */
  run(ctx: Context, bucket: Bucket): Promise<void>;
}

const PARALLEL = 16;
const MANY = 1_100; // more than one page of a listing
const LARGE_BYTES = 37 * 1024 * 1024 + 11; // several parts, the last one odd
const ODD_NAMES = [
  'a b',
  'a+b',
  'a%2Fb',
  'a&b=c',
  'quote\'"',
  '#?*',
  'ü',
  '\u{1f6df}',
  '\ufb01',
  'UPPER',
  'upper',
  '-',
  '~',
];
const BAD_KEYS = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '../a',
  'a/../b',
  '.',
  'a/.',
  'nul\0',
  'a'.repeat(1025),
  '.tmp-a',
  '\ud800',
];

export const bucketChecks: readonly BucketCheck[] = [
  check('what comes back is what was put, from a buffer and from a stream', async (ctx, bucket, folder) => {
    const data = Buffer.from('one two three');
    const put = await bucket.put(ctx, `${folder}buffer`, data);
    same([put.key, put.bytes], [`${folder}buffer`, data.length], 'what a put reports');
    await bucket.put(ctx, `${folder}stream`, pieces('one ', '', 'two ', 'three'));
    for (const name of ['buffer', 'stream']) {
      same(await text(ctx, bucket, folder + name), data.toString(), `the content of the ${name}`);
      const head = await bucket.head(ctx, folder + name);
      same([head.key, head.bytes, head.archived ?? false], [folder + name, data.length, false], 'what head reports');
      const ageMs = Math.abs(head.modifiedAt.getTime() - put.modifiedAt.getTime());
      expect(ageMs < 60_000, `objects put at one time are ${ageMs} ms apart`);
    }
  }),
  check('an object may be empty', async (ctx, bucket, folder) => {
    await bucket.put(ctx, `${folder}buffer`, new Uint8Array());
    await bucket.put(ctx, `${folder}stream`, pieces());
    for (const name of ['buffer', 'stream']) {
      same((await bucket.head(ctx, folder + name)).bytes, 0, 'the size of an empty object');
      same(await text(ctx, bucket, folder + name), '', 'the content of an empty object');
    }
  }),
  check('the last put wins', async (ctx, bucket, folder) => {
    await bucket.put(ctx, `${folder}a`, Buffer.from('a longer first'));
    await bucket.put(ctx, `${folder}a`, Buffer.from('second'));
    same(await text(ctx, bucket, `${folder}a`), 'second', 'what was put over an object');
    same((await bucket.head(ctx, `${folder}a`)).bytes, 6, 'its size');
  }),
  check('a buffer may be used again after its put', async (ctx, bucket, folder) => {
    const data = Buffer.from('mine');
    await bucket.put(ctx, `${folder}a`, data);
    same(data.toString(), 'mine', 'the buffer after its put');
    data.fill(0);
    same(await text(ctx, bucket, `${folder}a`), 'mine', 'the object after its buffer was used again');
  }),
  check('many that are put at once are each what was put', async (ctx, bucket, folder) => {
    const names = ['new', 'old', 'empty', ...Array.from({ length: 150 }, (_, i) => `${i % 3}/${i % 7}/${i}`)];
    await bucket.put(ctx, `${folder}old`, Buffer.from('as it was'));
    const bodyOf = (name: string): Buffer => Buffer.alloc(name === 'empty' ? 0 : name.length * 1000, name);
    const large = { key: `${folder}large`, body: Buffer.alloc(2_000_000, 'large') };
    const objects = [...names.map((name) => ({ key: folder + name, body: bodyOf(name) })), large];
    await putObjects(ctx, bucket, objects);
    for (const { body } of objects) body.fill(0); // they may be used again
    same(await keys(ctx, bucket, folder), [...names, 'large'].sort(), 'the keys afterwards');
    for (const name of names) same(await text(ctx, bucket, folder + name), bodyOf(name).toString(), name);
    same((await bucket.head(ctx, large.key)).bytes, 2_000_000, 'the size of the large one');
    expect((await readAll(bucket.get(ctx, large.key))).equals(Buffer.alloc(2_000_000, 'large')), 'the large one');
    await putObjects(ctx, bucket, []);
  }),
  check('a key that is not there is missing, and deleting it is no error', async (ctx, bucket, folder) => {
    await bucket.put(ctx, `${folder}a/b`, Buffer.from('x'));
    for (const key of ['none', 'a', 'a/b/c', 'none/none']) {
      await fails('missing', `reading ${key}`, () => text(ctx, bucket, folder + key));
      await fails('missing', `head of ${key}`, () => bucket.head(ctx, folder + key));
      await bucket.delete(ctx, folder + key);
    }
    same(await keys(ctx, bucket, folder), ['a/b'], 'what is left');
    await bucket.delete(ctx, `${folder}a/b`);
    await fails('missing', 'reading what was deleted', () => text(ctx, bucket, `${folder}a/b`));
    same(await keys(ctx, bucket, folder), [], 'what is left');
  }),
  check('a folder is gone with its last key', async (ctx, bucket, folder) => {
    for (const name of ['a/b/1', 'a/b/2', 'a/c', 'd/e']) await bucket.put(ctx, folder + name, Buffer.from('x'));
    await bucket.delete(ctx, `${folder}a/c`);
    await bucket.delete(ctx, `${folder}d/e`);
    same(await Array.fromAsync(bucket.folders(ctx, folder)), ['a/'], 'the folders after some deletions');
    await bucket.deleteAll(ctx, [`${folder}a/b/1`, `${folder}a/b/2`]);
    same(await Array.fromAsync(bucket.folders(ctx, folder)), [], 'the folders after all deletions');
  }),
  check('a range gives exactly its bytes', async (ctx, bucket, folder) => {
    await bucket.put(ctx, `${folder}a`, Buffer.from('0123456789'));
    const ranges = [
      { offset: 0, length: 1, bytes: '0' },
      { offset: 3, length: 4, bytes: '3456' },
      { offset: 9, length: 1, bytes: '9' },
      { offset: 0, length: 10, bytes: '0123456789' },
      { offset: 5, length: 0, bytes: '' },
    ];
    for (const { bytes, ...range } of ranges) {
      same(await text(ctx, bucket, `${folder}a`, range), bytes, `bytes ${range.offset}+${range.length}`);
    }
  }),
  check('a range that is not wholly there is missing', async (ctx, bucket, folder) => {
    await bucket.put(ctx, `${folder}a`, Buffer.from('0123456789'));
    for (const range of [
      { offset: 10, length: 1 },
      { offset: 8, length: 3 },
      { offset: 99, length: 9 },
    ]) {
      const what = `reading ${range.offset}+${range.length} of 10 bytes`;
      await fails('missing', what, () => text(ctx, bucket, `${folder}a`, range));
    }
  }),
  check('keys are listed below a prefix, in byte order', async (ctx, bucket, folder) => {
    const names = ['a', 'a-b/1', 'a.b', 'b/1', 'b/10', 'b/2', 'b/sub/1', 'b0', 'c/x/1', 'c/x-1/1', 'c/x0'];
    await mapBounded(names.toReversed(), PARALLEL, (name) => bucket.put(ctx, folder + name, Buffer.from(name)));
    const sorted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    same(await keys(ctx, bucket, folder), sorted, 'all keys');
    for (const prefix of ['b', 'b/', 'b/1', 'a', 'c/x', 'c/x/', 'none', 'none/']) {
      const expected = sorted.filter((name) => name.startsWith(prefix));
      same(
        (await keys(ctx, bucket, folder + prefix)).map((name) => prefix + name),
        expected,
        `keys below ${prefix}`,
      );
    }
    for await (const info of bucket.list(ctx, folder)) {
      same(info.bytes, info.key.length - folder.length, `the size of ${info.key} in a listing`);
    }
  }),
  check('folders are told apart from keys', async (ctx, bucket, folder) => {
    for (const name of ['b/1', 'b/2/3', 'a-b/1', 'a0/1', 'plain', 'b-plain']) {
      await bucket.put(ctx, folder + name, Buffer.from('x'));
    }
    same(await Array.fromAsync(bucket.folders(ctx, folder)), ['a-b/', 'a0/', 'b/'], 'folders');
    same(await Array.fromAsync(bucket.folders(ctx, `${folder}b/`)), ['2/'], 'folders within a folder');
    same(await Array.fromAsync(bucket.folders(ctx, `${folder}none/`)), [], 'folders of none');
    const files = await Array.fromAsync(bucket.files(ctx, folder), ({ key, bytes }) => [key, bytes]);
    same(
      files,
      [`${folder}b-plain`, `${folder}plain`].map((key) => [key, 1]),
      'what lies in no folder',
    );
    same(
      await Array.fromAsync(bucket.files(ctx, `${folder}b/2/`), ({ key }) => key),
      [`${folder}b/2/3`],
      'in a folder',
    );
    same(await Array.fromAsync(bucket.files(ctx, `${folder}none/`)), [], 'files of none');
  }),
  check('a listing has more than a thousand keys, each once', async (ctx, bucket, folder) => {
    const names = Array.from({ length: MANY }, (_, i) => `${['a', 'a-b', 'b'][i % 3]}/${String(i).padStart(5, '0')}`);
    await mapBounded(names, PARALLEL, (name) => bucket.put(ctx, folder + name, Buffer.from('x')));
    same(await keys(ctx, bucket, folder), names.toSorted(), 'all keys');
    const some = names.filter((name) => name.startsWith('a-b/'));
    same(
      await keys(ctx, bucket, `${folder}a-`),
      some.map((name) => name.slice(2)),
      'keys below a-',
    );
  }),
  check('many are deleted at once, those that are missing too', async (ctx, bucket, folder) => {
    const names = Array.from({ length: 25 }, (_, i) => `${i}`);
    await mapBounded(names, PARALLEL, (name) => bucket.put(ctx, folder + name, Buffer.from('x')));
    const doomed = [...names.slice(5), 'none', 'none/none'].map((name) => folder + name);
    same(await bucket.deleteAll(ctx, doomed), [], 'the keys that could not be deleted');
    same(await keys(ctx, bucket, folder), ['0', '1', '2', '3', '4'], 'what is left');
    same(await bucket.deleteAll(ctx, []), [], 'deleting nothing');
  }),
  check('odd names are kept as they are', async (ctx, bucket, folder) => {
    await mapBounded(ODD_NAMES, PARALLEL, (name) => bucket.put(ctx, `${folder}${name}/${name}`, Buffer.from(name)));
    const sorted = ODD_NAMES.toSorted((a, b) => Buffer.compare(Buffer.from(`${a}/`), Buffer.from(`${b}/`)));
    same(
      await keys(ctx, bucket, folder),
      sorted.map((name) => `${name}/${name}`),
      'the keys listed',
    );
    same(
      await Array.fromAsync(bucket.folders(ctx, folder)),
      sorted.map((name) => `${name}/`),
      'the folders',
    );
    for (const name of ODD_NAMES) same(await text(ctx, bucket, `${folder}${name}/${name}`), name, 'the content');
    const all = ODD_NAMES.map((name) => `${folder}${name}/${name}`);
    same(await bucket.deleteAll(ctx, all), [], 'the keys that could not be deleted');
    same(await keys(ctx, bucket, folder), [], 'what is left');
  }),
  check('a key that leads out of the bucket is refused', async (ctx, bucket) => {
    for (const key of BAD_KEYS) {
      const shown = JSON.stringify(key.slice(0, 20));
      await fails('malformed', `putting ${shown}`, () => bucket.put(ctx, key, Buffer.from('x')));
      await fails('malformed', `putting ${shown} with others`, () =>
        putObjects(ctx, bucket, [{ key, body: Buffer.from('x') }]),
      );
      await fails('malformed', `reading ${shown}`, () => text(ctx, bucket, key));
      await fails('malformed', `head of ${shown}`, () => bucket.head(ctx, key));
      await fails('malformed', `deleting ${shown}`, () => bucket.delete(ctx, key));
      await fails('malformed', `deleting ${shown} with others`, () => bucket.deleteAll(ctx, [key]));
    }
    await fails('malformed', 'listing ../', () => keys(ctx, bucket, '../'));
    await fails('malformed', 'folders of ../', () => Array.fromAsync(bucket.folders(ctx, '../')));
  }),
  check('a body that breaks off leaves nothing', async (ctx, bucket, folder) => {
    await bucket.put(ctx, `${folder}old`, Buffer.from('as it was'));
    for (const bytes of [4, LARGE_BYTES]) {
      for (const name of ['new', 'old']) {
        const cause = new Failure('program-failed', 'the source broke off');
        await fails('program-failed', 'a put that broke off', () =>
          bucket.put(ctx, folder + name, broken(bytes, cause)),
        );
      }
    }
    same(await keys(ctx, bucket, folder), ['old'], 'what is listed after puts that broke off');
    same(await text(ctx, bucket, `${folder}old`), 'as it was', 'what a broken-off put meant to replace');
  }),
  check('a put that is stopped leaves nothing', async (ctx, bucket, folder) => {
    const controller = new AbortController();
    const stopped = { ...ctx, signal: controller.signal };
    async function* endless(): Bytes {
      for await (const chunk of generated(LARGE_BYTES)) yield chunk;
      controller.abort(new Failure('interrupted', 'stopped on request'));
      yield Buffer.from('more');
    }
    await fails('interrupted', 'a put that was stopped', () => bucket.put(stopped, `${folder}a`, endless()));
    await fails('interrupted', 'a put after the stop', () => bucket.put(stopped, `${folder}b`, Buffer.from('x')));
    await fails('interrupted', 'a put of many after the stop', () =>
      putObjects(stopped, bucket, [{ key: `${folder}c`, body: Buffer.from('x') }]),
    );
    same(await keys(ctx, bucket, folder), [], 'what is listed after puts that were stopped');
  }),
  check(
    'if-absent never overwrites',
    async (ctx, bucket, folder) => {
      const ifAbsent = { ifAbsent: true };
      await bucket.put(ctx, `${folder}a`, Buffer.from('first'), ifAbsent);
      await fails('exists', 'a second put', () => bucket.put(ctx, `${folder}a`, Buffer.from('second'), ifAbsent));
      await fails('exists', 'a second put, streamed', () => bucket.put(ctx, `${folder}a`, pieces('second'), ifAbsent));
      same(await text(ctx, bucket, `${folder}a`), 'first', 'what was there first');
    },
    'for S3: set conditional_writes: false',
  ),
  check(
    'of many that put if absent at once, one wins',
    async (ctx, bucket, folder) => {
      const won = await mapBounded([1, 2, 3, 4, 5, 6, 7, 8], 8, async (n) => {
        try {
          await bucket.put(ctx, `${folder}race`, Buffer.from(`${n}`), { ifAbsent: true });
          return [`${n}`];
        } catch (error) {
          if (isFailure(error, 'exists')) return [];
          throw error;
        }
      });
      same(won.flat(), [await text(ctx, bucket, `${folder}race`)], 'the one that won');
    },
    'two writers at once are not told apart here: let one machine write to this store',
  ),
  check('a large stream comes back whole, and in ranges', async (ctx, bucket, folder) => {
    const key = `${folder}large`;
    const expected = createHash('sha256');
    for await (const chunk of generated(LARGE_BYTES)) expected.update(chunk);
    same((await bucket.put(ctx, key, generated(LARGE_BYTES))).bytes, LARGE_BYTES, 'the size that a put reports');
    same((await bucket.head(ctx, key)).bytes, LARGE_BYTES, 'the size of the large object');
    const actual = createHash('sha256');
    for await (const chunk of bucket.get(ctx, key)) actual.update(chunk);
    same(actual.digest('hex'), expected.digest('hex'), 'the digest of the large object');
    const border = Math.ceil((16 * 1024 * 1024) / GENERATED_CHUNK_BYTES) * GENERATED_CHUNK_BYTES;
    for (const offset of [border - 5_000_000, LARGE_BYTES - 5_000_000]) {
      const range = { offset, length: 5_000_000 };
      const got = await readAll(bucket.get(ctx, key, range));
      expect(got.equals(generatedRange(range.offset, range.length)), `bytes from ${offset} on are others`);
    }
  }),
  check('the same objects can be put, read, listed and deleted at once', async (ctx, bucket, folder) => {
    const names = Array.from({ length: 96 }, (_, i) => `${i % 8}/${i % 12}`);
    const body = (name: string): Buffer => Buffer.alloc(20_000, name);
    await mapBounded(names, PARALLEL, async (name, i) => {
      await bucket.put(ctx, folder + name, i % 2 === 0 ? body(name) : bytesOf(body(name)));
      const read = await readAll(bucket.get(ctx, folder + name));
      expect(read.equals(body(name)), `${name} was read half-written`);
      if (i % 16 === 0) await keys(ctx, bucket, folder);
    });
    same(await keys(ctx, bucket, folder), [...new Set(names)].sort(), 'the keys afterwards');
    // A folder that empties while others put into it.
    await mapBounded(names, PARALLEL, async (_name, i) => {
      const key = `${folder}busy/${i}`;
      await bucket.put(ctx, key, Buffer.from('x'));
      await bucket.delete(ctx, key);
    });
    same(await keys(ctx, bucket, `${folder}busy/`), [], 'what is left of the busy folder');
  }),
  check('a reader that leaves early holds nothing back', async (ctx, bucket, folder) => {
    await bucket.put(ctx, `${folder}a`, Buffer.alloc(3_000_000, 'x'));
    for (let i = 0; i < 40; i++) {
      for await (const chunk of bucket.get(ctx, `${folder}a`)) {
        expect(chunk.length > 0, 'an empty chunk was read');
        break;
      }
    }
    same((await bucket.head(ctx, `${folder}a`)).bytes, 3_000_000, 'the size afterwards');
  }),
];

/** `hint`: what to set for a bucket that does otherwise. */
function check(
  title: string,
  run: (ctx: Context, bucket: Bucket, folder: string) => Promise<void>,
  hint?: string,
): BucketCheck {
  return {
    title,
    async run(ctx, bucket) {
      const folder = `lifeboat-check-${randomUUID()}/`;
      try {
        await run(ctx, bucket, folder);
      } catch (error) {
        await clear(ctx, bucket, folder).catch(() => undefined); // what failed first says more
        if (hint === undefined || !(isFailure(error, 'different') || isFailure(error, 'settings-invalid'))) throw error;
        throw new Failure(error.code, error.message, { cause: error, hint });
      }
      await clear(ctx, bucket, folder);
    },
  };
}

async function clear(ctx: Context, bucket: Bucket, folder: string): Promise<void> {
  const left = await Array.fromAsync(bucket.list(ctx, folder), (info) => info.key);
  const [failed] = await bucket.deleteAll(ctx, left);
  expect(failed === undefined, `${failed?.key} could not be deleted: ${failed?.reason}`);
}

function expect(condition: boolean, otherwise: string): void {
  if (!condition) throw new Failure('different', otherwise);
}
function same(actual: unknown, expected: unknown, what: string): void {
  const shown = (value: unknown): string => JSON.stringify(value).slice(0, 500);
  expect(isDeepStrictEqual(actual, expected), `${what}: ${shown(expected)} was expected, ${shown(actual)} came`);
}
async function fails(code: string, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (isFailure(error) && error.code === code) return;
    throw error;
  }
  throw new Failure('different', `${what} should have failed as '${code}'`);
}

async function text(
  ctx: Context,
  bucket: Bucket,
  key: string,
  range?: { offset: number; length: number },
): Promise<string> {
  return (await readAll(bucket.get(ctx, key, range))).toString();
}
/** What is listed below `prefix`, without it. */
async function keys(ctx: Context, bucket: Bucket, prefix: string): Promise<string[]> {
  return await Array.fromAsync(bucket.list(ctx, prefix), (info) => info.key.slice(prefix.length));
}
