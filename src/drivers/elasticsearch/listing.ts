// What is in a cluster: indices, data streams and aliases, and which of them are meant.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Client } from './client.ts';
import type { ServerFacts } from './server.ts';

const NAME_BYTES_MAX = 255;

const catSchema = z.array(
  z.object({
    index: z.string(),
    uuid: z.string(),
    status: z.string(),
    health: z.string().nullish(),
    pri: z.string().nullish(),
    'docs.count': z.string().nullish(),
    'pri.store.size': z.string().nullish(),
  }),
);
const streamsSchema = z.object({
  data_streams: z.array(
    z.object({
      name: z.string(),
      indices: z.array(z.object({ index_name: z.string() })),
      template: z.string().nullish(),
      hidden: z.boolean().optional(),
    }),
  ),
});
const aliasesSchema = z.array(z.object({ alias: z.string(), index: z.string() }));

interface Asked {
  readonly client: Client;
  readonly server: ServerFacts;
}
export interface ListedIndex {
  readonly name: string;
  readonly uuid: string;
  readonly isOpen: boolean;
  /** Not all of its documents can be read. */
  readonly isRed: boolean;
  readonly shards: number;
  readonly bytes: number;
  /** The data stream that it backs. */
  readonly stream: string | null;
}
export interface ListedStream {
  readonly name: string;
  readonly template: string | null;
  /** From the oldest to the one that is written to. */
  readonly indices: readonly string[];
}
export interface Listing {
  readonly indices: readonly ListedIndex[];
  readonly streams: readonly ListedStream[];
  /** How many indices the patterns leave out. */
  readonly others: number;
}

/** What `patterns` mean; all that is there without them. Ordered by name. */
export async function listing(
  ctx: Context,
  { client, server }: Asked,
  patterns: readonly string[] | null,
): Promise<Listing> {
  const columns = 'h=index,uuid,status,health,pri,docs.count,pri.store.size';
  const path = `/_cat/indices?format=json&bytes=b&expand_wildcards=all&${columns}`;
  const rows = await client.ask(ctx, 'listing the indices', { method: 'GET', path }, catSchema);
  const streams = await dataStreams(ctx, client, server);
  const backs = new Map(streams.flatMap(({ name, indices }) => indices.map((index) => [index, name] as const)));
  const isMeant = patterns === null ? () => true : matcher(patterns);
  const all = rows.map((row): ListedIndex => {
    return {
      name: lawful(row.index),
      uuid: row.uuid,
      isOpen: row.status === 'open',
      isRed: row.status === 'open' && row.health === 'red',
      shards: Number(row.pri ?? 1) || 1,
      bytes: Number(row['pri.store.size'] ?? 0) || 0,
      stream: backs.get(row.index) ?? null,
    };
  });
  const indices = all.filter(({ name, stream }) => isMeant(stream ?? name)).sort(byName);
  return {
    indices,
    streams: streams.filter(({ name }) => isMeant(name)).sort(byName),
    others: all.length - indices.length,
  };
}

async function dataStreams(ctx: Context, client: Client, { kind }: ServerFacts): Promise<ListedStream[]> {
  const query = kind === 'elasticsearch' ? '?expand_wildcards=all' : '';
  const request = { method: 'GET', path: `/_data_stream/*${query}` } as const;
  const found = await client.find(ctx, 'listing the data streams', request, streamsSchema);
  return (found?.data_streams ?? []).map(({ name, indices, template }) => {
    const names = indices.map(({ index_name }) => lawful(index_name));
    return { name: lawful(name), template: template ?? null, indices: names };
  });
}

/** The indices of each alias. */
export async function aliasesOf(ctx: Context, client: Client): Promise<ReadonlyMap<string, readonly string[]>> {
  const path = '/_cat/aliases?format=json&expand_wildcards=all&h=alias,index';
  const rows = await client.ask(ctx, 'listing the aliases', { method: 'GET', path }, aliasesSchema);
  const found = new Map<string, string[]>();
  for (const { alias, index } of rows) found.set(alias, [...(found.get(alias) ?? []), index]);
  return found;
}

/** '*' stands for anything; names that begin with a dot are the servers' own and must be meant by one that does. */
export function matcher(patterns: readonly string[]): (name: string) => boolean {
  const rules = patterns.map((text) => {
    const [leavesOut, pattern] = text.startsWith('-') ? [true, text.slice(1)] : [false, text];
    const source = pattern.split('*').map(escaped).join('.*');
    return { leavesOut, dotted: pattern.startsWith('.'), regex: new RegExp(`^${source}$`, 's') };
  });
  const [first] = rules;
  return (name) => {
    let meant = first?.leavesOut === true && !name.startsWith('.');
    for (const { leavesOut, dotted, regex } of rules) {
      if (regex.test(name) && (leavesOut || dotted || !name.startsWith('.'))) meant = !leavesOut;
    }
    return meant;
  };
}

/** Names become those of parts, and of paths of requests. */
export function lawful(name: string): string {
  const bytes = Buffer.byteLength(name);
  if (bytes > 0 && bytes <= NAME_BYTES_MAX && !/[/\\\0]/.test(name) && name !== '.' && name !== '..') return name;
  throw new Failure('malformed', `${JSON.stringify(name).slice(0, 80)} is no name that an index can have`);
}

function escaped(text: string): string {
  return text.replace(/[.+?^${}()|[\]\\]/g, '\\$&');
}

export function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
