// What a cluster has been told besides documents: templates, ingest pipelines, lifecycle policies. Each is kept in the
// form that the server takes it back in.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context, Json } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { type Client, parsed } from './client.ts';
import { byName } from './listing.ts';
import type { ServerFacts } from './server.ts';

/** In the order in which they need one another. */
export const DEFINITION_KINDS = [
  'pipeline',
  'policy',
  'component-template',
  'index-template',
  'template',
] as const satisfies readonly string[];
export type DefinitionKind = (typeof DEFINITION_KINDS)[number];

export interface Definition {
  readonly kind: DefinitionKind;
  readonly name: string;
  /** As it is sent to the server. */
  readonly body: Readonly<Record<string, Json>>;
}

interface Way {
  readonly path: string;
  /** Names and bodies of what the server answers. */
  readonly read: (answer: unknown) => [string, Record<string, Json>][];
  /** Servers without it say so in different ways. */
  readonly optional?: true;
}

const body = z.record(z.string(), z.json());
const byNameSchema = z.record(z.string(), body);
const componentsSchema = z.object({
  component_templates: z.array(z.object({ name: z.string(), component_template: body })),
});
const templatesSchema = z.object({ index_templates: z.array(z.object({ name: z.string(), index_template: body })) });
const ismSchema = z.object({ policies: z.array(z.object({ _id: z.string(), policy: body })) });

const WAYS: Readonly<Record<Exclude<DefinitionKind, 'policy'>, Way>> = {
  pipeline: { path: '/_ingest/pipeline', read: (answer) => Object.entries(byNameSchema.parse(answer)) },
  template: { path: '/_template', read: (answer) => Object.entries(byNameSchema.parse(answer)) },
  'component-template': {
    path: '/_component_template',
    read: (answer) =>
      componentsSchema.parse(answer).component_templates.map(({ name, component_template: each }) => [name, each]),
  },
  'index-template': {
    path: '/_index_template',
    read: (answer) =>
      templatesSchema.parse(answer).index_templates.map(({ name, index_template: each }) => [name, each]),
  },
};
const POLICIES: Readonly<Record<ServerFacts['kind'], Way>> = {
  opensearch: {
    path: '/_plugins/_ism/policies',
    read: (answer) => ismSchema.parse(answer).policies.map(({ _id: name, policy }) => [name, { policy: bare(policy) }]),
    optional: true,
  },
  elasticsearch: {
    path: '/_ilm/policy',
    read: (answer) => Object.entries(byNameSchema.parse(answer)).map(([name, { policy = {} }]) => [name, { policy }]),
    optional: true,
  },
};
/** What servers add by themselves, and do not take back. */
const ADDED = [
  'created_date',
  'created_date_millis',
  'modified_date',
  'modified_date_millis',
  'policy_id',
  'last_updated_time',
  'schema_version',
];

/** Those of users: what servers bring along, they bring along at the target too. Ordered by kind and name. */
export async function definitionsOf(ctx: Context, client: Client, server: ServerFacts): Promise<Definition[]> {
  const found = await mapBounded(DEFINITION_KINDS, DEFINITION_KINDS.length, async (kind) => {
    const way = wayOf(server, kind);
    const query = kind === 'policy' && server.kind === 'opensearch' ? '?size=10000' : '';
    const reply = await client.send(ctx, { method: 'GET', path: way.path + query });
    if (reply.status === 404 || (way.optional && [400, 405].includes(reply.status))) return [];
    if (reply.status >= 300) throw client.refusal(`listing each ${kind}`, reply);
    const all = readBy(way, reply.body, `${client.where}: the list of each ${kind}`).map(
      ([name, each]): Definition => ({ kind, name, body: bare(each) }),
    );
    return all.filter((each) => !isManaged(each)).sort(byName);
  });
  return found.flat();
}

function readBy({ read }: Way, body: Buffer, what: string): [string, Record<string, Json>][] {
  const answer = parsed(z.unknown(), body, what);
  try {
    return read(answer);
  } catch (cause) {
    throw new Failure('malformed', `${what} is not what was expected`, { cause });
  }
}

/** Throws what the server says against it. */
export async function putDefinition(
  ctx: Context,
  client: Client,
  server: ServerFacts,
  { kind, name, body: content }: Definition,
): Promise<void> {
  const path = `${wayOf(server, kind).path}/${encodeURIComponent(name)}${await sequenceOf(ctx, client, server, { kind, name })}`;
  const reply = await client.send(ctx, { method: 'PUT', path, body: JSON.stringify(content) });
  if (reply.status >= 300) throw client.refusal(`setting ${kind} ${name}`, reply);
}

export async function deleteDefinition(
  ctx: Context,
  client: Client,
  server: ServerFacts,
  { kind, name }: Pick<Definition, 'kind' | 'name'>,
): Promise<void> {
  const path = `${wayOf(server, kind).path}/${encodeURIComponent(name)}`;
  const reply = await client.send(ctx, { method: 'DELETE', path });
  if (reply.status >= 300 && reply.status !== 404) throw client.refusal(`removing ${kind} ${name}`, reply);
}

/** A policy of OpenSearch that is there already is only replaced by who has seen it. */
async function sequenceOf(
  ctx: Context,
  client: Client,
  server: ServerFacts,
  { kind, name }: Pick<Definition, 'kind' | 'name'>,
): Promise<string> {
  if (kind !== 'policy' || server.kind !== 'opensearch') return '';
  const seen = z.object({ _seq_no: z.number(), _primary_term: z.number() });
  const path = `${POLICIES.opensearch.path}/${encodeURIComponent(name)}`;
  const found = await client.find(ctx, `looking at ${kind} ${name}`, { method: 'GET', path }, seen);
  return found ? `?if_seq_no=${found._seq_no}&if_primary_term=${found._primary_term}` : '';
}

/** Where each kind is listed. */
export function definitionPaths(server: ServerFacts): [DefinitionKind, string][] {
  return DEFINITION_KINDS.map((kind) => [kind, wayOf(server, kind).path]);
}

function wayOf(server: ServerFacts, kind: DefinitionKind): Way {
  return kind === 'policy' ? POLICIES[server.kind] : WAYS[kind];
}

function bare(fields: Record<string, Json>): Record<string, Json> {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !ADDED.includes(name)));
}

function isManaged({ name, body: { _meta: meta, policy } }: Definition): boolean {
  const inner = typeof policy === 'object' && policy !== null ? (policy as { _meta?: Json })._meta : null;
  return name.startsWith('.') || [meta, inner].some((each) => (each as { managed?: Json } | null)?.managed === true);
}
