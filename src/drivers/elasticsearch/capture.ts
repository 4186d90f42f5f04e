// A capture by export: documents and definitions become parts, each in the form that a bare server takes back.

import { hash } from 'node:crypto';
import { batched, lineBatchesOf } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { putInventory, shapedLine } from '../../core/inventory.ts';
import { keepAll, putAll } from '../../core/many-parts.ts';
import type { Capture, Context, Sink, Source, WholePart } from '../../core/model.ts';
import { connect } from './client.ts';
import type { Rendered } from './documents.ts';
import {
  definitionPart,
  documentsPart,
  entrySchema,
  INDICES_PART,
  type IndexEntry,
  indexPart,
  inventoryLines,
  STREAMS_PART,
} from './entries.ts';
import { serverFacts } from './server.ts';
import type { Settings } from './settings.ts';
import { type Survey, survey } from './survey.ts';

/** Parts come back in parallel, and each is one request after another for who restores without us. */
const PART_BYTES_MAX = 128 * 1024 * 1024;
const NAMED_MAX = 20;

export async function capture(ctx: Context, settings: Settings, sink: Sink, previous?: Source): Promise<Capture> {
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  const before = previous ? await entriesOf(ctx, previous) : new Map<string, IndexEntry>();
  const found = await survey(
    ctx,
    { client, server, settings },
    {
      earlier: (name) => before.get(name),
      async keep(c, { parts }) {
        if (!previous) return false;
        const { point, component } = previous;
        const kept = parts.map(({ name, bytes }) => ({ name, from: { name, bytes, point, component } }));
        if (kept.length > 0) await keepAll(c, sink, kept);
        return true;
      },
      index: async (c, name, body) => await putJson(c, sink, [[indexPart(name), body]]),
      documents: (c, index, slice, pages) => storeSlice(c, sink, { index, slice, pages }),
    },
  );
  refuseUnreadable(client.where, found);
  await putJson(ctx, sink, [[STREAMS_PART, found.streams], ...definitionParts(found)]);
  await sink.put(ctx, INDICES_PART, batched(textsOf(found.entries)));
  await putInventory(ctx, sink, inventoryLines(found.entries, found.streams, found.definitions));
  const at = found.at.toISOString();
  return {
    cut: { position: `${server.identity}@${at}`, at },
    method: 'export',
    serverVersion: server.version,
    identity: server.identity,
    inventoryLevel: settings.inventory,
    totals: totalsOf(found),
    warnings: warningsOf(found),
  };
}

export async function entriesOf(ctx: Context, source: Source): Promise<Map<string, IndexEntry>> {
  const found = new Map<string, IndexEntry>();
  const what = `the list of indices of ${source.point}/${source.component}`;
  const shape = (value: unknown): IndexEntry | null => entrySchema.safeParse(value).data ?? null;
  for await (const lines of lineBatchesOf(source.get(ctx, INDICES_PART))) {
    for (const line of lines) {
      if (line === '') continue;
      const entry = shapedLine(line, shape, what);
      found.set(entry.name, entry);
    }
  }
  return found;
}

async function storeSlice(
  ctx: Context,
  sink: Sink,
  { index, slice, pages }: { index: string; slice: number; pages: AsyncIterable<Rendered> },
): Promise<IndexEntry['parts']> {
  const iterator = pages[Symbol.asyncIterator]();
  const parts: IndexEntry['parts'] = [];
  try {
    let next = await iterator.next();
    while (!next.done) {
      const part = { name: documentsPart(index, slice, parts.length), documents: 0, bytes: 0 };
      async function* body(): AsyncIterable<Uint8Array> {
        while (!next.done && part.bytes < PART_BYTES_MAX) {
          part.documents += next.value.documents;
          part.bytes += next.value.body.length;
          yield next.value.body;
          next = await iterator.next();
        }
      }
      await sink.put(ctx, part.name, body());
      parts.push(part);
    }
  } finally {
    await iterator.return?.();
  }
  return parts;
}

export function definitionParts({ definitions }: Pick<Survey, 'definitions'>): [string, unknown][] {
  return definitions.map((each) => [definitionPart(each), each.body]);
}

export async function putJson(ctx: Context, sink: Sink, parts: readonly (readonly [string, unknown])[]): Promise<void> {
  const wholes = parts.map(([name, value]): WholePart => {
    const whole = Buffer.from(JSON.stringify(value));
    return { name, whole, sha256: hash('sha256', whole) };
  });
  await putAll(ctx, sink, wholes);
}

async function* textsOf(entries: readonly IndexEntry[]): AsyncIterable<string> {
  for (const entry of entries) yield `${JSON.stringify(entry)}\n`;
}

/** One that is red is told; nothing but such is no capture. */
function refuseUnreadable(where: string, { entries }: Survey): void {
  const red = entries.filter(({ state }) => state === 'red').map(({ name }) => name);
  if (red.length === 0 || red.length < entries.length) return;
  throw new Failure('source-damaged', `${where}: no index can be read: ${named(red)} lack shards`, {
    hint: 'look at _cluster/allocation/explain',
  });
}

function totalsOf({ entries, streams }: Survey): Record<string, number> {
  const sum = (figure: (entry: IndexEntry) => number): number => entries.reduce((all, each) => all + figure(each), 0);
  return {
    indices: entries.filter(({ state }) => state !== 'deleted').length,
    data_streams: streams.length,
    documents: sum(({ documents }) => documents ?? 0),
    bytes: sum(({ parts }) => parts.reduce((all, { bytes }) => all + bytes, 0)),
  };
}

function warningsOf({ entries, late, stale, streams }: Survey): string[] {
  const inState = (state: IndexEntry['state']): string[] =>
    entries.filter((each) => each.state === state).map(({ name }) => name);
  const bare = entries.filter(({ without_source: without }) => without > 0).map(({ name }) => name);
  const partly = entries.filter(({ fields_kept_out: out }) => out).map(({ name }) => name);
  const backing = new Set(streams.flatMap(({ indices }) => indices));
  const older = entries.filter(({ name, state }) => state === 'deleted' && backing.has(name));
  const told: [string[], string][] = [
    [inState('closed'), 'closed: its documents can not be read and are not in the point'],
    [inState('red'), 'red: it lacks shards, and its documents are not in the point'],
    [inState('deleted'), 'deleted while it was captured: it is not in the point'],
    [bare, 'has documents without _source: they can not be brought back'],
    [partly, 'its mapping keeps fields out of _source: they can not be brought back'],
    [[...stale].sort(), 'could not be refreshed: what was written to it lately may not be in the point'],
    [[...late].sort(), 'read later than the others: the server holds so many shards at a time'],
  ];
  const warnings = told.flatMap(([names, what]) => (names.length === 0 ? [] : [`${named(names)}: ${what}`]));
  if (older.length > 0) warnings.push('data streams lost indices by age while they were captured');
  return warnings;
}

export function named(names: readonly string[]): string {
  const rest = names.length - NAMED_MAX;
  return names.slice(0, NAMED_MAX).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
