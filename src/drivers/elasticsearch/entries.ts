// The catalogue of a point: a line for each index, and what an inventory says of it.

import { z } from 'zod';
import { byKindAndName } from '../../core/inventory.ts';
import type { InventoryLine, Json } from '../../core/model.ts';
import { digestOf } from './canonical.ts';
import type { Definition } from './definitions.ts';
import { documentSum, isSum } from './documents.ts';
import type { ListedStream } from './listing.ts';

export const INDICES_PART = 'indices.ndjson';
export const STREAMS_PART = 'streams.json';
export const DEFINITIONS_FOLDER = 'definitions/';

export const entrySchema = z.object({
  name: z.string(),
  uuid: z.string(),
  /** All but open ones have no documents here. */
  state: z.enum(['open', 'closed', 'red', 'deleted']),
  stream: z.string().nullable(),
  documents: z.number().int().nonnegative().nullable(),
  digest: z.string().refine(isSum).nullable(),
  /** Documents of which the server had no source. */
  without_source: z.number().int().nonnegative(),
  /** Its mapping keeps fields out of `_source`: what they held is in no document that a server gives. */
  fields_kept_out: z.boolean().default(false),
  parts: z.array(z.object({ name: z.string(), documents: z.number().int(), bytes: z.number().int() })),
  /** As long as the server gives the same, the documents are the same. Null when they changed while they were read. */
  unchanged: z.string().nullable(),
  settings: z.string().nullable(),
  mapping: z.string().nullable(),
  aliases: z.record(z.string(), z.json()),
});
export type IndexEntry = z.output<typeof entrySchema>;

export const streamsSchema = z.array(
  z.object({ name: z.string(), template: z.string().nullable(), indices: z.array(z.string()) }),
);

/** What an index is told when it is made: PUT takes it as it is. */
export const indexBodySchema = z.object({
  settings: z.record(z.string(), z.json()),
  mappings: z.record(z.string(), z.json()),
  aliases: z.record(z.string(), z.json()),
});
export type IndexBody = z.output<typeof indexBodySchema>;

/** What things at the target are called in the point. */
export interface NamesBefore {
  /** Of indices and data streams. */
  readonly indices: ReadonlyMap<string, string>;
  readonly aliases: ReadonlyMap<string, string>;
  /** Aliases of the point of which all indices come back. */
  readonly whole: ReadonlySet<string>;
  /** Aliases of the point that were not set: nothing is said of them. */
  readonly left: readonly string[];
  /** Kind and name. */
  readonly definitions: ReadonlySet<string>;
}
/** What a restore makes of an index, and of a data stream. */
export interface IndexPlan {
  readonly entry: IndexEntry;
  readonly into: string;
  readonly body: IndexBody;
}
export interface StreamPlan {
  readonly stream: ListedStream;
  readonly into: string;
  readonly backing: readonly { readonly entry: IndexEntry; readonly body: IndexBody }[];
}

export function indexPart(name: string): string {
  return `indices/${name}/index.json`;
}
export function documentsPart(name: string, slice: number, chunk: number): string {
  const digits = (number: number): string => String(number).padStart(4, '0');
  return `indices/${name}/documents-${digits(slice)}-${digits(chunk)}.bulk`;
}
/** Names of templates may hold anything. */
export function definitionPart({ kind, name }: Pick<Definition, 'kind' | 'name'>): string {
  return `${DEFINITIONS_FOLDER}${kind}/${encodeURIComponent(name)}.json`;
}
export function definitionOfPart(part: string): { kind: string; name: string } | null {
  const [, kind = '', name = ''] = /^definitions\/([a-z-]+)\/([^/]+)\.json$/.exec(part) ?? [];
  return kind === '' ? null : { kind, name: decodeURIComponent(name) };
}

export function inventoryLines(
  entries: readonly IndexEntry[],
  streams: readonly ListedStream[],
  definitions: readonly Definition[],
): InventoryLine[] {
  const own = entries.filter(({ stream }) => stream === null);
  const lines = [
    ...own.flatMap(linesOfIndex),
    ...aliasLines(own),
    ...streams.map((stream) => streamLine(stream, entries)),
    ...definitions.map(({ kind, name, body }) => ({ kind, name, count: null, digest: digestOf(body) })),
  ];
  return lines.sort(byKindAndName);
}

function linesOfIndex({
  name,
  state,
  documents,
  digest,
  without_source,
  settings,
  mapping,
}: IndexEntry): InventoryLine[] {
  const detail = { ...(state !== 'open' && { state }), ...(without_source > 0 && { without_source }) };
  const told = Object.keys(detail).length > 0 ? { detail: detail as Json } : {};
  const index = { kind: 'index', name, count: documents, digest, ...told };
  if (state === 'deleted') return [index];
  return [
    index,
    { kind: 'mapping', name, count: null, digest: mapping },
    { kind: 'settings', name, count: null, digest: settings },
  ];
}

function aliasLines(entries: readonly IndexEntry[]): InventoryLine[] {
  const found = new Map<string, Record<string, Json>>();
  for (const { name, state, aliases } of entries) {
    if (state === 'deleted') continue;
    for (const [alias, told] of Object.entries(aliases)) found.set(alias, { ...found.get(alias), [name]: told });
  }
  return [...found].map(([name, indices]) => {
    const holders = Object.keys(indices);
    return { kind: 'alias', name, count: holders.length, digest: digestOf(indices), detail: { indices: holders } };
  });
}

/** Into which of its indices a stream has put a document is the server's own affair. */
function streamLine({ name }: ListedStream, entries: readonly IndexEntry[]): InventoryLine {
  const sum = documentSum();
  let count: number | null = 0;
  let digest: string | null = '';
  for (const entry of entries) {
    if (entry.stream !== name) continue;
    count = count === null || entry.documents === null ? null : count + entry.documents;
    if (entry.digest === null) digest = null;
    else sum.addSum(entry.digest);
  }
  return { kind: 'data-stream', name, count, digest: digest === null ? null : sum.text() };
}
