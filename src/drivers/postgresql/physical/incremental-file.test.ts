import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { readAll } from '../../../core/bytes.ts';
import { fullLabel, incrementalFile } from './incremental-file.ts';

const PAGE = 32;
const MAGIC = 0xd3ae1f0d;

function page(fill: number): Buffer {
  return Buffer.alloc(PAGE, fill);
}

interface Told {
  /** Number and content. */
  readonly pages: readonly (readonly [number, Buffer])[];
  readonly oldPages: number;
  readonly isBig?: boolean;
}

function fileOf({ pages, oldPages, isBig = false }: Told): Buffer {
  const words = [MAGIC, pages.length, oldPages, ...pages.map(([at]) => at)];
  const head = Buffer.alloc(words.length * 4);
  for (const [at, word] of words.entries()) {
    if (isBig) head.writeUInt32BE(word, at * 4);
    else head.writeUInt32LE(word, at * 4);
  }
  const padding = pages.length === 0 ? 0 : (PAGE - (head.length % PAGE)) % PAGE;
  return Buffer.concat([head, Buffer.alloc(padding), ...pages.map(([, content]) => content)]);
}

async function* inPieces(bytes: Buffer, size: number): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function wholeOf(file: Buffer, old: Buffer, size = 7): Promise<Buffer> {
  const options = { bytes: file.length, pageBytes: PAGE, what: 'it' };
  const told = await incrementalFile(inPieces(file, size), options);
  const get = ({ offset, length }: { offset: number; length: number }): AsyncIterable<Uint8Array> => {
    assert.ok(offset + length <= old.length);
    return inPieces(old.subarray(offset, offset + length), size + 4);
  };
  const whole = await readAll(told.whole({ bytes: old.length, get }));
  assert.equal(whole.length, told.bytes);
  return whole;
}

/** Page by page, as the rules have it. */
function expected({ pages, oldPages }: Told, old: Buffer): Buffer {
  const length = Math.max(oldPages, ...pages.map(([at]) => at + 1));
  const all = Array.from({ length }, (_, at) => {
    const came = pages.find(([number]) => number === at);
    const counts = at < oldPages && (at + 1) * PAGE <= old.length;
    return came ? came[1] : counts ? old.subarray(at * PAGE, (at + 1) * PAGE) : page(0);
  });
  return Buffer.concat(all);
}

describe('a file of which the pages came that changed', () => {
  test('becomes whole with the earlier one, whatever changed and however it comes', async () => {
    const numbers = fc.uniqueArray(fc.nat(40), { maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(numbers, fc.nat(45), fc.nat(45), fc.boolean(), async (changed, oldPages, held, isBig) => {
        const pages = changed.toSorted((a, b) => a - b).map((at) => [at, page(100 + at)] as const);
        const old = Buffer.concat(Array.from({ length: held }, (_, at) => page(1 + at)));
        const told = { pages, oldPages, isBig };
        assert.deepEqual(await wholeOf(fileOf(told), old, 1 + held), expected(told, old));
      }),
    );
  });

  test('says whether any page came, so that an unchanged one is not read', async () => {
    const file = fileOf({ pages: [], oldPages: 3 });
    const told = await incrementalFile(inPieces(file, 5), { bytes: file.length, pageBytes: PAGE, what: 'it' });
    assert.deepEqual([told.isEmpty, told.bytes], [true, 3 * PAGE]);
  });

  const well = fileOf({
    pages: [
      [1, page(9)],
      [4, page(8)],
    ],
    oldPages: 3,
  });
  const hostile: Readonly<Record<string, Buffer>> = {
    'nothing in it': Buffer.alloc(0),
    'another beginning': Buffer.concat([Buffer.alloc(4), well.subarray(4)]),
    'an end in its head': well.subarray(0, 9),
    'more pages than came': Buffer.concat([well.subarray(0, 4), Buffer.from([3, 0, 0, 0]), well.subarray(8)]),
    'a number of pages beyond all files': Buffer.concat([well.subarray(0, 4), Buffer.alloc(4, 0xff), well.subarray(8)]),
    'something behind its pages': Buffer.concat([well, page(1)]),
    'pages out of order': fileOf({
      pages: [
        [4, page(8)],
        [1, page(9)],
      ],
      oldPages: 3,
    }),
    'a page twice': fileOf({
      pages: [
        [4, page(8)],
        [4, page(9)],
      ],
      oldPages: 3,
    }),
  };
  for (const [what, file] of Object.entries(hostile)) {
    test(`with ${what} is refused`, async () => {
      await assert.rejects(wholeOf(file, Buffer.alloc(10 * PAGE)), { code: 'malformed' });
    });
  }

  test('with an end in its pages is refused, and so is an earlier one that is shorter than it says', async () => {
    const options = { bytes: well.length, pageBytes: PAGE, what: 'it' };
    const old = { bytes: 10 * PAGE, get: () => inPieces(Buffer.alloc(10 * PAGE), 9) };
    const cut = await incrementalFile(inPieces(well.subarray(0, -1), 9), options);
    await assert.rejects(readAll(cut.whole(old)), { code: 'malformed' });
    const whole = await incrementalFile(inPieces(well, 9), options);
    const short = { ...old, get: () => inPieces(Buffer.alloc(PAGE), 9) };
    await assert.rejects(readAll(whole.whole(short)), { code: 'malformed' });
  });
});

test('a label loses what says that the backup is none by itself', () => {
  const full = 'START WAL LOCATION: 0/5000028 (file 000000010000000000000005)\nSTART TIMELINE: 1\n';
  assert.equal(fullLabel(`${full}INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n`), full);
});
