// parts.ndjson: what a capture put, as the store took it. Written last of a component's parts, it tells later whether
// one has gone or changed.

import { z } from 'zod';
import { batched, linesOf } from '../core/bytes.ts';
import { Failure } from '../core/errors.ts';
import type { Context, Part, Sink, Source } from '../core/model.ts';
import type { Spool } from './spool.ts';

export const PARTS_PART = 'parts.ndjson';

export interface ListedPart {
  readonly name: string;
  readonly bytes: number;
  readonly digest: string;
}
const lineSchema = z.object({ name: z.string(), bytes: z.number().int().nonnegative(), digest: z.string() });

export async function notePart(spool: Spool, { name, bytes, digest }: Part): Promise<void> {
  await spool.add(name, { name, bytes, digest });
}

export async function putPartList(ctx: Context, sink: Sink, spool: Spool): Promise<void> {
  async function* lines(): AsyncIterable<string> {
    for await (const { line } of spool.sorted()) yield `${line}\n`;
  }
  await sink.put(ctx, PARTS_PART, batched(lines()));
}

export async function* readPartList(ctx: Context, source: Source): AsyncIterable<ListedPart> {
  for await (const text of linesOf(source.get(ctx, PARTS_PART))) {
    if (text !== '') yield parse(text, `${source.point}/${source.component}`);
  }
}

function parse(text: string, where: string): ListedPart {
  try {
    return lineSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Failure('malformed', `the part list of ${where} has a line that is none`, { cause });
  }
}
