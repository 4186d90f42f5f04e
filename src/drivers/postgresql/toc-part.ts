// The table of contents of an archive as a part of its own, with the properties of its database: what a restore needs
// to know before it reads the archive.

import { z } from 'zod';
import { batched, readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bytes, Context, Sink, Source } from '../../core/model.ts';
import { type Toc, tocEntry } from './archive.ts';
import { type DatabaseFacts, databaseFacts } from './databases.ts';
import { databasePart } from './names.ts';

const TOC_SUFFIX = '.toc.json';
const TOC_BYTES_MAX = 256 * 1024 * 1024;

export interface DatabaseToc {
  readonly facts: DatabaseFacts;
  readonly toc: Toc;
  /** The schema called public was there: a dump does not say when it was not. */
  readonly publicSchema: boolean;
}

const place = z.number().int().nonnegative();
const document = z.object({
  format: z.literal(1),
  database: databaseFacts,
  public_schema: z.boolean(),
  written_by: z.string(),
  server: z.string(),
  blocks_at: place,
  bytes: place,
  entries: z.array(tocEntry),
});

/** 'value-too-large' when it is more than `readToc` reads: a point that can't be restored is none. */
export async function putToc(ctx: Context, sink: Sink, known: DatabaseToc, bytesMax = TOC_BYTES_MAX): Promise<void> {
  const { facts, toc } = known;
  async function* limited(): Bytes {
    let bytes = 0;
    for await (const chunk of batched(rendered(known))) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw tooLarge(facts.name, toc.entries.length, bytesMax);
      yield chunk;
    }
  }
  await sink.put(ctx, databasePart(facts.name, TOC_SUFFIX), limited());
}

function tooLarge(database: string, objects: number, bytesMax: number): Failure {
  const why = `its table of contents, of ${objects} objects, is larger than ${bytesMax} bytes`;
  return new Failure('value-too-large', `capture of database ${database}: ${why}`, {
    hint: 'split the database, or store large objects as values of a table',
  });
}

async function* rendered({ facts, toc, publicSchema }: DatabaseToc): AsyncIterable<string> {
  const { entries, writtenBy, server, blocksAt, bytes } = toc;
  const head = {
    format: 1,
    database: facts,
    public_schema: publicSchema,
    written_by: writtenBy,
    server,
    blocks_at: blocksAt,
    bytes,
  };
  yield `${JSON.stringify(head).slice(0, -1)},"entries":[`;
  let comma = '';
  for (const entry of entries) {
    yield `${comma}\n${JSON.stringify(entry)}`;
    comma = ',';
  }
  yield '\n]}\n';
}

/** Null when the point has none: it was made by somebody else. */
export async function readToc(ctx: Context, source: Source, database: string): Promise<DatabaseToc | null> {
  const part = databasePart(database, TOC_SUFFIX);
  try {
    await source.part(ctx, part);
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    throw error;
  }
  const text = (await readAll(source.get(ctx, part), TOC_BYTES_MAX)).toString('utf8');
  try {
    const json = document.parse(JSON.parse(text));
    const { entries, database: facts, written_by, server, blocks_at, bytes } = json;
    const toc = { writtenBy: written_by, server, database: facts.name, blocksAt: blocks_at, bytes, entries };
    return { facts, toc, publicSchema: json.public_schema };
  } catch (cause) {
    throw new Failure('malformed', `${source.point}/${source.component}/${part} is no table of contents`, { cause });
  }
}
