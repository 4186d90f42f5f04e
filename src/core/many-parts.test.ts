import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from './bytes.ts';
import { isFailure } from './errors.ts';
import { getAll, WHOLE_BYTES_MAX } from './many-parts.ts';
import type { Source } from './model.ts';
import { memoryParts, testContext } from './testing.ts';

const SIZES = { one: 10, two: WHOLE_BYTES_MAX, large: WHOLE_BYTES_MAX + 1, three: 5 };

test('a part that is too large to be given whole fails unread, after all that come before it were given', async () => {
  const { source, read } = await stored({});
  assert.deepEqual(await given(source), [[10, WHOLE_BYTES_MAX], 'malformed']);
  assert.ok(!read.includes('large'), read.join());
});

test('a part that is larger than is said fails as damaged, and is not read to its end', async () => {
  const { source } = await stored({ large: 100 });
  assert.deepEqual(await given(source), [[10, WHOLE_BYTES_MAX], 'checksum']);
});

/** Parts of these sizes, of which others may be told; without a way of its own to read many. */
async function stored(told: Readonly<Record<string, number>>): Promise<{ source: Source; read: string[] }> {
  const ctx = testContext();
  const { sink, source } = memoryParts();
  for (const [name, bytes] of Object.entries(SIZES)) await sink.put(ctx, name, bytesOf(Buffer.alloc(bytes)));
  const read: string[] = [];
  return {
    read,
    source: {
      ...source,
      async part(within, name) {
        const part = await source.part(within, name);
        return { ...part, bytes: told[name] ?? part.bytes };
      },
      get(within, name) {
        read.push(name);
        return source.get(within, name);
      },
    },
  };
}

/** The sizes that come before the failure, and its code. */
async function given(source: Source): Promise<[number[], string]> {
  const sizes: number[] = [];
  try {
    for await (const wholes of getAll(testContext(), source, Object.keys(SIZES))) {
      sizes.push(...wholes.map(({ length }) => length));
    }
  } catch (error) {
    return [sizes, isFailure(error) ? error.code : String(error)];
  }
  return [sizes, 'none'];
}
