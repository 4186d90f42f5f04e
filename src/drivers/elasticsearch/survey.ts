// Reads everything that is meant of a cluster: what for, its caller says. Captures and inventories see the same.

import { z } from 'zod';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context, Json } from '../../core/model.ts';
import { gate, mapBounded } from '../../core/parallel.ts';
import { digestOf } from './canonical.ts';
import { type Client, jsonOf } from './client.ts';
import { type Definition, definitionsOf } from './definitions.ts';
import { documentSum, type Rendered } from './documents.ts';
import type { IndexBody, IndexEntry } from './entries.ts';
import { byName, type ListedIndex, type ListedStream, listing } from './listing.ts';
import { portableSettings } from './portable.ts';
import { type Moment, openMoment } from './reader.ts';
import { type ServerFacts, serverTime } from './server.ts';
import type { Settings } from './settings.ts';

const INDICES_PARALLEL = 4;
const SLICES_PARALLEL = 4;
/** Servers hold 300 shards at a time by default. */
const SHARDS_HELD_MAX = 200;
/** Half of what the server keeps a moment for that nobody asks for. */
const WAITED_MS_MAX = 15 * 60_000;

export interface Session {
  readonly client: Client;
  readonly server: ServerFacts;
  readonly settings: Settings;
}

/** What is done with what is read. */
export interface Purpose {
  /** The entry of an earlier point; its documents are not read when they can't have changed. */
  earlier?(name: string): IndexEntry | undefined;
  /** Keeps the documents of an earlier point; false where they must be read all the same. */
  keep?(ctx: Context, entry: IndexEntry): Promise<boolean>;
  index?(ctx: Context, name: string, body: IndexBody): Promise<void>;
  /** Documents are only counted. */
  readonly countsOnly?: boolean;
  /** Takes all pages of a slice. */
  documents(ctx: Context, index: string, slice: number, pages: AsyncIterable<Rendered>): Promise<IndexEntry['parts']>;
}

export interface Survey {
  readonly entries: readonly IndexEntry[];
  readonly streams: readonly ListedStream[];
  readonly definitions: readonly Definition[];
  /** Of the server's clock where it says so: when the last index was held, and what was held later than the others. */
  readonly at: Date;
  readonly late: readonly string[];
  /** What was written lately to these may not have been seen: the server did not refresh them. */
  readonly stale: readonly string[];
  readonly others: number;
}

interface Held {
  readonly index: ListedIndex;
  /** Null: the index is not read, or held only when its turn comes. */
  readonly moment: Moment | null;
  readonly entry: IndexEntry;
  /** From before it was refreshed: what is written after that is not in it, whether it is seen or not. */
  readonly before: string | null;
  readonly isStale: boolean;
  readonly resultWindow: number;
}

export async function survey(ctx: Context, session: Session, purpose: Purpose): Promise<Survey> {
  const { client, server, settings } = session;
  const definitions = await definitionsOf(ctx, client, server);
  const { indices, streams, others } = await listing(ctx, session, settings.indices);
  await using moments = new AsyncDisposableStack();
  let shards = 0;
  const helds = await mapBounded(indices, INDICES_PARALLEL, async (index) => {
    shards += index.shards;
    const held = await hold(ctx, session, purpose, index, shards <= SHARDS_HELD_MAX);
    if (held.moment) moments.use(held.moment);
    return held;
  });
  const times = helds.map(({ moment }) => moment?.at ?? null).filter((at) => at !== null);
  const at = times.length > 0 ? Math.max(...times) : ((await serverTime(ctx, client)) ?? ctx.now().getTime());
  const late: string[] = [];
  const slices = gate(SLICES_PARALLEL);
  const entries = await mapBounded(helds, INDICES_PARALLEL, async (held) => {
    return await unlessLost(ctx, session, { told: () => held.entry }, async () => {
      if (purpose.countsOnly) return await countDocuments(ctx, client, held);
      await using reading = new AsyncDisposableStack();
      const moment = await momentOf(ctx, session, held, (own) => {
        late.push(held.index.name);
        return reading.use(own);
      });
      return moment ? await readDocuments(ctx, session, purpose, { held, moment, slices }) : held.entry;
    });
  });
  const stale = helds.filter(({ isStale }) => isStale).map(({ entry }) => entry.name);
  return { entries: entries.toSorted(byName), streams, definitions, at: new Date(at), late, stale, others };
}

/** Documents are counted only; with the states that tell whether anything was written since. */
export async function countSurvey(ctx: Context, session: Session): Promise<Survey> {
  return await survey(ctx, session, { countsOnly: true, documents: async () => [] });
}

/** Settings and mappings, and the moment that documents are read as of. */
async function hold(
  ctx: Context,
  session: Session,
  purpose: Purpose,
  index: ListedIndex,
  holds: boolean,
): Promise<Held> {
  const { name, uuid, stream, isOpen, isRed } = index;
  const state = !isOpen ? 'closed' : isRed ? 'red' : 'open';
  const documents = { documents: null, digest: null, without_source: 0, fields_kept_out: false };
  const none = { ...documents, parts: [], unchanged: null };
  const blank: IndexEntry = { name, uuid, state, stream, ...none, settings: null, mapping: null, aliases: {} };
  let moment: Moment | null = null;
  let before: string | null = null;
  let isStale = false;
  let resultWindow = 10_000;
  let told = blank;
  const entry = await unlessLost(ctx, session, { told: () => told }, async () => {
    const { body, window } = await describeIndex(ctx, session.client, name);
    resultWindow = window;
    await purpose.index?.(ctx, name, body);
    const { aliases } = body;
    const digests = { settings: digestOf(body.settings), mapping: digestOf(body.mappings) };
    told = { ...blank, ...digests, aliases, fields_kept_out: keepsFieldsOut(body.mappings) };
    if (state !== 'open') return told;
    before = await fingerprint(ctx, session.client, index);
    const earlier = purpose.earlier?.(name);
    if (earlier && before !== null && earlier.unchanged === before && (await purpose.keep?.(ctx, earlier))) {
      const { documents, digest, without_source, parts, unchanged } = earlier;
      return { ...told, documents, digest, without_source, parts, unchanged };
    }
    isStale = !(await refresh(ctx, session.client, name));
    if (holds && !purpose.countsOnly)
      moment = await openMoment(ctx, session.client, session.server, { index: name, resultWindow });
    return told;
  });
  return { index, moment, entry, before: isStale ? null : before, isStale, resultWindow };
}

async function momentOf(
  ctx: Context,
  { client, server }: Session,
  { index, moment, entry, resultWindow }: Held,
  late: (own: Moment) => Moment,
): Promise<Moment | null> {
  if (entry.state !== 'open' || entry.documents !== null) return null;
  if (moment && ctx.monotonicMs() - moment.openedMs < WAITED_MS_MAX) return moment;
  await refresh(ctx, client, index.name);
  return late(await openMoment(ctx, client, server, { index: index.name, resultWindow }));
}

async function countDocuments(ctx: Context, client: Client, { entry, before }: Held): Promise<IndexEntry> {
  if (entry.state !== 'open') return entry;
  const path = `/${encodeURIComponent(entry.name)}/_count`;
  const schema = z.object({ count: z.number().int(), _shards: z.object({ failed: z.number() }) });
  const { count, _shards: shards } = await client.ask(ctx, `counting ${entry.name}`, { method: 'GET', path }, schema);
  return shards.failed > 0 ? entry : { ...entry, documents: count, unchanged: before };
}

async function readDocuments(
  ctx: Context,
  { client, server }: Session,
  purpose: Purpose,
  { held, moment, slices }: { held: Held; moment: Moment; slices: ReturnType<typeof gate> },
): Promise<IndexEntry> {
  const { index, entry, before } = held;
  const after = before === null ? null : await fingerprint(ctx, client, index);
  const sum = documentSum();
  const operation = index.stream === null ? 'index' : 'create';
  let withoutSource = 0;
  const parts = await mapBounded(Array.from({ length: index.shards }).keys(), index.shards, async (slice) => {
    return await slices.run(async () => {
      async function* pages(): AsyncIterable<Rendered> {
        for await (const page of moment.read(ctx, { id: slice, of: index.shards }, operation, sum)) {
          withoutSource += page.withoutSource;
          yield page;
        }
      }
      return await purpose.documents(ctx, index.name, slice, pages());
    });
  });
  const digest = withoutSource > 0 ? null : sum.text();
  const found = { documents: sum.count, digest, without_source: withoutSource, parts: parts.flat() };
  ctx.log.debug('an index was read', { index: index.name, documents: sum.count, server: server.version });
  return { ...entry, ...found, unchanged: before === after ? before : null };
}

const statesSchema = z.array(z.object({ status: z.string(), health: z.string().nullish() }));

/** What is deleted, closed or loses shards while it is read is told, and hinders no other. */
async function unlessLost(
  ctx: Context,
  { client }: Session,
  { told }: { told: () => IndexEntry },
  work: () => Promise<IndexEntry>,
): Promise<IndexEntry> {
  try {
    return await work();
  } catch (error) {
    if (!isFailure(error) || ctx.signal.aborted) throw error;
    const entry = told();
    const lost = { ...entry, documents: null, digest: null, parts: [], unchanged: null };
    const path = `/_cat/indices/${encodeURIComponent(entry.name)}?format=json&h=status,health&expand_wildcards=all`;
    const found = await client.find(ctx, `looking at ${entry.name}`, { method: 'GET', path }, statesSchema);
    if (found === null) return { ...lost, settings: null, mapping: null, state: 'deleted', aliases: {} };
    const state = found[0]?.status === 'close' ? 'closed' : found[0]?.health === 'red' ? 'red' : null;
    // Of one that is there the point must have what it takes to make it.
    if (state === null || entry.settings === null) throw error;
    return { ...lost, state };
  }
}

const describedSchema = z.record(
  z.string(),
  z.object({
    settings: z.record(z.string(), z.json()).default({}),
    mappings: z.record(z.string(), z.json()).default({}),
    aliases: z.record(z.string(), z.json()).default({}),
  }),
);

async function describeIndex(ctx: Context, client: Client, name: string): Promise<{ body: IndexBody; window: number }> {
  const path = `/${encodeURIComponent(name)}?flat_settings=true&expand_wildcards=all`;
  const found = await client.ask(ctx, `describing ${name}`, { method: 'GET', path }, describedSchema);
  const body = found[name];
  if (!body) throw new Failure('missing', `${client.where}: there is no index ${name}`);
  const window = Number((body.settings['index.max_result_window'] as Json | undefined) ?? 10_000);
  return { body: { ...body, settings: portableSettings(body.settings) }, window: window > 0 ? window : 10_000 };
}

function keepsFieldsOut({ _source: source }: IndexBody['mappings']): boolean {
  const { includes, excludes } = (source ?? {}) as { includes?: unknown; excludes?: unknown };
  return [includes, excludes].some((each) => Array.isArray(each) && each.length > 0);
}

const refreshedSchema = z.object({ _shards: z.object({ failed: z.literal(0) }) });

/** What was acknowledged before is seen. False where we may not ask for it: the server does it in its own time. */
export async function refresh(ctx: Context, client: Client, name: string): Promise<boolean> {
  const reply = await client.send(ctx, { method: 'POST', path: `/${encodeURIComponent(name)}/_refresh` });
  if (reply.status === 403) return false;
  if (reply.status >= 300) throw client.refusal(`refreshing ${name}`, reply);
  return refreshedSchema.safeParse(jsonOf(reply.body)).success;
}

const statsSchema = z.object({
  indices: z.record(
    z.string(),
    z.object({
      uuid: z.string(),
      shards: z.record(
        z.string(),
        z.array(
          z.object({
            routing: z.object({ primary: z.boolean() }),
            commit: z.object({ user_data: z.object({ history_uuid: z.string() }) }),
            seq_no: z.object({ max_seq_no: z.number(), local_checkpoint: z.number(), global_checkpoint: z.number() }),
          }),
        ),
      ),
    }),
  ),
});

/**
 * The same as long as nothing was written: each operation has a number, and one that all copies have is never taken
 * back. Null when some are still on their way, or the server does not say.
 */
async function fingerprint(ctx: Context, client: Client, { name, shards }: ListedIndex): Promise<string | null> {
  const filter = ['uuid', 'shards.*.routing.primary', 'shards.*.commit.user_data.history_uuid', 'shards.*.seq_no'];
  const fields = filter.map((each) => `indices.*.${each}`).join(',');
  const path = `/${encodeURIComponent(name)}/_stats/docs?level=shards&filter_path=${fields}`;
  const reply = await client.send(ctx, { method: 'GET', path });
  if (reply.status === 404) throw client.refusal(`looking at ${name}`, reply);
  if (reply.status >= 300) return null;
  const { data } = statsSchema.safeParse(jsonOf(reply.body));
  const index = data?.indices[name];
  if (!index) return null;
  const primaries: string[] = [index.uuid];
  for (const [shard, copies] of Object.entries(index.shards).sort(([a], [b]) => Number(a) - Number(b))) {
    const primary = copies.find(({ routing }) => routing.primary);
    if (!primary) return null;
    const { max_seq_no: last, local_checkpoint: local, global_checkpoint: global } = primary.seq_no;
    if (last !== local || last !== global) return null;
    primaries.push(`${shard}:${primary.commit.user_data.history_uuid}:${last}`);
  }
  return primaries.length === shards + 1 ? primaries.join(' ') : null;
}
