import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Bytes } from '../core/model.ts';
import { split } from './split.ts';

/** Counts up, and overwrites each chunk as soon as the next is asked for: chunks are borrowed. */
function counting(upTo: number): { body: Bytes; made(): number; closed(): boolean } {
  let [made, closed] = [0, false];
  const chunk = Buffer.alloc(4);
  async function* body(): Bytes {
    try {
      while (made < upTo) {
        chunk.writeUInt32LE(made++);
        yield chunk;
        chunk.fill(0xff);
      }
    } finally {
      closed = true;
    }
  }
  return { body: body(), made: () => made, closed: () => closed };
}

async function numbers(branch: Bytes, pause: (at: number) => Promise<void> = async () => undefined): Promise<number[]> {
  const seen: number[] = [];
  for await (const chunk of branch) {
    await pause(seen.length);
    seen.push(Buffer.from(chunk).readUInt32LE());
  }
  return seen;
}
const ticks = async (count: number): Promise<void> => {
  for (let at = 0; at < count; at++) await new Promise((resolve) => setImmediate(resolve));
};
const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

describe('one stream for several readers', () => {
  test('gives every one of them all of it, however unlike their paces', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 20 }),
        fc.array(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 5 }), {
          minLength: 1,
          maxLength: 4,
        }),
        async (chunks, paces) => {
          const { branches } = split(counting(chunks).body, paces.length);
          const read = await Promise.all(
            branches.map((branch, at) => numbers(branch, (step) => ticks(paces[at]?.[step % paces[at].length] ?? 0))),
          );
          for (const each of read) assert.deepEqual(each, upTo(chunks));
        },
      ),
      { numRuns: 30 },
    );
  });

  test('reads no further than the slowest has come', async () => {
    const source = counting(100);
    const { branches } = split(source.body, 2);
    const [fast, slow] = branches.map((branch) => branch[Symbol.asyncIterator]());
    void fast?.next();
    await ticks(3);
    assert.equal(source.made(), 0);
    await slow?.next();
    void fast?.next();
    await ticks(3);
    assert.equal(source.made(), 1);
  });

  test('goes on without one that leaves, at whatever moment', async () => {
    for (const stop of [0, 1, 7]) {
      const { branches, leave } = split(counting(20).body, 2);
      const [a, b] = branches;
      assert.ok(a && b);
      const short = (async () => {
        let seen = 0;
        for (const reader = b[Symbol.asyncIterator](); seen < stop; seen++) await reader.next();
        await ticks(2); // the other one has asked again by now
        leave(1);
      })();
      const [all] = await Promise.all([numbers(a), short]);
      assert.deepEqual(all, upTo(20));
    }
  });

  test('closes the source when the last one has left', async () => {
    const source = counting(20);
    const { branches, leave } = split(source.body, 2);
    await Promise.all(branches.map((branch) => branch[Symbol.asyncIterator]().next()));
    leave(0);
    assert.equal(source.closed(), false);
    leave(1);
    await ticks(2);
    assert.equal(source.closed(), true);
  });

  test('tells everyone when it breaks, also those who ask later', async () => {
    async function* breaking(): Bytes {
      yield Buffer.alloc(4);
      throw new Error('cut off');
    }
    const stream = split(breaking(), 2);
    const [a, b] = stream.branches;
    assert.ok(a && b);
    const read = await Promise.allSettled([numbers(a), numbers(b, () => ticks(3))]);
    assert.deepEqual(
      read.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    await assert.rejects(numbers(a), /cut off/);
  });
});
