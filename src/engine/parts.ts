// parts.ndjson: what a capture put, as the store took it. Written last of a component's parts, it tells later whether
// one has gone or changed. Digests take more room than all the rest and are sealed in groups.

import { createHash, type Hash } from 'node:crypto';
import { batched, byteOrder, lineBatchesOf } from '../core/bytes.ts';
import { shapedLine } from '../core/inventory.ts';
import type { Context, Part, Sink, Source } from '../core/model.ts';
import { type Sorter, sorter } from '../core/sorter.ts';

export const PARTS_PART = 'parts.ndjson';
const GROUP_PARTS = 100;

export interface ListedPart {
  readonly name: string;
  readonly bytes: number;
}
/** Follows the parts that it is about: their number, and a digest over theirs. */
export interface PartSeal {
  readonly parts: number;
  readonly digest: string;
}

/** The digests of some parts, in their order. */
export interface PartDigests {
  add(part: Pick<Part, 'digest'>): void;
  /** Of what was added since the last call. */
  seal(): PartSeal;
}

export function partDigests(): PartDigests {
  let hash: Hash = createHash('sha256');
  let parts = 0;
  let lines = ''; // hashed together, as each call takes longer than the hashing
  return {
    add({ digest }) {
      lines += `${digest}\n`;
      parts += 1;
      if (parts % GROUP_PARTS > 0) return;
      hash.update(lines);
      lines = '';
    },
    seal() {
      const sealed = { parts, digest: `sha256:${hash.update(lines).digest('hex')}` };
      hash = createHash('sha256');
      parts = 0;
      lines = '';
      return sealed;
    },
  };
}

type Noted = Pick<Part, 'name' | 'bytes' | 'digest'>;
/** The parts that a store took, in any order. */
export type PartNotes = Sorter<Noted>;

export function partNotes(ctx: Context): PartNotes {
  return sorter(ctx.scratch, 'the list of parts', {
    order: (a, b) => byteOrder(a.name, b.name),
    lineOf: ({ name, bytes, digest }) => JSON.stringify([name, bytes, digest]),
    itemOf(line) {
      const [name, bytes, digest] = JSON.parse(line) as [string, number, string]; // a line of our own
      return { name, bytes, digest };
    },
    charsOf: ({ name, digest }) => name.length + digest.length,
  });
}

export async function putPartList(ctx: Context, sink: Sink, notes: PartNotes): Promise<void> {
  await sink.put(ctx, PARTS_PART, batched(listLines(notes)));
}

async function* listLines(notes: PartNotes): AsyncIterable<string> {
  const digests = partDigests();
  let left = notes.count;
  let lines = '';
  for await (const parts of notes.sorted()) {
    for (const { name, bytes, digest } of parts) {
      lines += `{"name":${JSON.stringify(name)},"bytes":${bytes}}\n`;
      digests.add({ digest });
      left -= 1;
      if (left % GROUP_PARTS !== 0) continue;
      yield `${lines}${JSON.stringify(digests.seal())}\n`;
      lines = '';
    }
  }
}

/** Some lines at a time. */
export async function* readPartList(ctx: Context, source: Source): AsyncIterable<readonly (ListedPart | PartSeal)[]> {
  const what = `the part list of ${source.point}/${source.component}`;
  for await (const lines of lineBatchesOf(source.get(ctx, PARTS_PART))) {
    yield lines.filter((text) => text !== '').map((text) => shapedLine(text, shapeOf, what));
  }
}

function shapeOf(value: unknown): ListedPart | PartSeal | null {
  const { name, bytes, parts, digest }: { readonly [K in keyof (ListedPart & PartSeal)]?: unknown } = value ?? {};
  if (typeof name === 'string' && isCount(bytes)) return { name, bytes };
  if (typeof digest === 'string' && isCount(parts) && parts > 0) return { parts, digest };
  return null;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
