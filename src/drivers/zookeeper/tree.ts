// The tree of a point, as it is read back.

import { lineBatchesOf } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { shapedLine } from '../../core/inventory.ts';
import type { Bytes, Context, Source } from '../../core/model.ts';
import { type Content, type Entry, type Head, lineFrom, partOf, sha256Of, TREE_PART } from './entries.ts';

/** Whole, or 'malformed'. */
export async function* entriesOf(ctx: Context, source: Source): AsyncGenerator<Entry> {
  const what = whatOf(source);
  let count = 0;
  let whole = false;
  for await (const lines of lineBatchesOf(source.get(ctx, TREE_PART))) {
    for (const text of lines) {
      if (text === '') continue;
      const line = shapedLine(text, lineFrom, what);
      if (whole) throw new Failure('malformed', `${what} goes on behind its end`);
      if ('tail' in line) whole = line.tail.entries === count;
      if (!('entry' in line)) continue;
      count += 1;
      yield line.entry;
    }
  }
  if (!whole) throw new Failure('malformed', `${what} is cut off: it ends after ${count} znodes`);
}

/** What the tree says of itself before its first znode. */
export async function headOf(ctx: Context, source: Source): Promise<Head> {
  const what = whatOf(source);
  for await (const [first = ''] of lineBatchesOf(source.get(ctx, TREE_PART))) {
    const line = shapedLine(first, lineFrom, what);
    if ('head' in line) return line.head;
    break;
  }
  throw new Failure('malformed', `${what} does not begin as a tree does`);
}

/** What a znode holds, read from its own part where it has one. */
export async function dataOf(ctx: Context, source: Source, content: Content): Promise<Buffer | null> {
  if (content === null || content.whole !== null) return content?.whole ?? null;
  const name = partOf(content.sha256);
  const data = await readUpTo(source.get(ctx, name), content.bytes);
  if (data.length === content.bytes && sha256Of(data) === content.sha256) return data;
  throw new Failure('checksum', `${source.point}/${source.component}/${name} is not what was captured`);
}

async function readUpTo(body: Bytes, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax) break;
    chunks.push(Buffer.from(chunk)); // a copy: chunks are borrowed
  }
  return Buffer.concat(chunks);
}

function whatOf({ point, component }: Source): string {
  return `${point}/${component}/${TREE_PART}`;
}
