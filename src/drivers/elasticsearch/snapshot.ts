// Snapshots that the cluster takes itself, into a repository that it reaches. The documents lie outside of our stores:
// the point says where, and what makes them whole.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { interruption } from '../../core/context.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import { inventoryOf, putInventory } from '../../core/inventory.ts';
import type {
  Capture,
  Chain,
  Context,
  Finding,
  InventoryReader,
  Json,
  Restored,
  RestoreOptions,
  Sink,
  Source,
} from '../../core/model.ts';
import { definitionParts, named, putJson } from './capture.ts';
import { type Client, connect, parsed } from './client.ts';
import { stateOf } from './compare.ts';
import { DEFINITION_KINDS, putDefinition } from './definitions.ts';
import { type IndexEntry, inventoryLines, type NamesBefore, STREAMS_PART } from './entries.ts';
import { restoredInventory } from './inventory.ts';
import { aliasesOf, listing, matcher } from './listing.ts';
import { definitionsToSet } from './plan.ts';
import { serverFacts } from './server.ts';
import type { Repository, Settings } from './settings.ts';
import { countSurvey, type Session } from './survey.ts';

export const SNAPSHOT_PART = 'snapshot.json';
const POLL_MS_MIN = 200;
const POLL_MS_MAX = 5_000;
const ABANDON_MS = 60_000;
/** No name at all would mean every index. */
const NOTHING = 'lifeboat-has-no-such-index*';

export const referenceSchema = z.object({
  repository: z.object({ name: z.string(), type: z.enum(['fs', 's3']), place: z.record(z.string(), z.json()) }),
  snapshot: z.string(),
  uuid: z.string(),
  /** Without those that back data streams. */
  indices: z.array(z.string()),
  data_streams: z.array(z.string()),
  shards: z.object({ total: z.number().int(), successful: z.number().int() }),
});
/** Names a snapshot, and tells it from another one of the same name. */
export type Reference = z.output<typeof referenceSchema>;

const snapshotSchema = z.object({
  snapshot: z.string(),
  uuid: z.string(),
  state: z.string(),
  indices: z.array(z.string()),
  data_streams: z.array(z.string()).default([]),
  failures: z.array(z.object({ index: z.string().nullish(), reason: z.string().nullish() })).default([]),
  shards: z.object({ total: z.number().int(), failed: z.number().int(), successful: z.number().int() }).optional(),
  start_time: z.string(),
});
type Snapshot = z.output<typeof snapshotSchema>;
const snapshotsSchema = z.object({ snapshots: z.array(snapshotSchema) });
const anything = z.unknown();

export async function captureSnapshot(ctx: Context, settings: Settings, sink: Sink): Promise<Capture> {
  const repository = repositoryOf(settings);
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  const session: Session = { client, server, settings };
  await register(ctx, client, repository);
  const { indices, streams } = await listing(ctx, session, settings.indices);
  const closed = indices.filter(({ isOpen }) => !isOpen).map(({ name }) => name);
  const red = indices.filter(({ isRed }) => isRed).map(({ name }) => name);
  if (red.length > 0) throw unreadable(client.where, `${named(red)} lack shards`);
  const wanted = [...new Set(indices.map(({ name, stream }) => stream ?? name))];
  const before = await countSurvey(ctx, session);
  const name = `lifeboat-${ctx.now().toISOString().replace(/\D/g, '').slice(0, 14)}-${randomBytes(4).toString('hex')}`;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => forget(ctx, client, snapshotPath(repository.name, name)));
  const taken = await take(ctx, client, { repository, name, wanted });
  const after = await countSurvey(ctx, session);
  const lost = indices
    .filter((index) => index.isOpen && !taken.indices.includes(index.name))
    .map((index) => index.name);
  const backing = new Set(streams.flatMap((stream) => stream.indices));
  const reference = referenceOf(repository, taken, backing);
  await putJson(ctx, sink, [[SNAPSHOT_PART, reference], [STREAMS_PART, streams], ...definitionParts(before)]);
  const entries = before.entries.map((entry) => steady(entry, after.entries, taken.indices));
  await putInventory(ctx, sink, inventoryLines(entries, streams, before.definitions));
  const warnings = lost.length > 0 ? [`${named(lost)}: deleted while it was captured: not in the snapshot`] : [];
  const shut = closed.filter((index) => !taken.indices.includes(index));
  if (shut.length > 0) warnings.push(`${named(shut)}: closed: not in the snapshot`);
  undo.move();
  return {
    cut: { position: taken.uuid, at: new Date(taken.start_time).toISOString() },
    method: 'snapshot',
    serverVersion: server.version,
    identity: server.identity,
    inventoryLevel: 'counts',
    totals: { indices: taken.indices.length, data_streams: streams.length, shards: reference.shards.total },
    warnings,
    external: reference,
  };
}

/** What was counted before and after, with nothing written in between, is what the snapshot has. */
function steady(entry: IndexEntry, after: readonly IndexEntry[], taken: readonly string[]): IndexEntry {
  if (!taken.includes(entry.name)) {
    const { state } = entry;
    return { ...entry, documents: null, state: state === 'closed' ? state : 'deleted', aliases: {} };
  }
  const now = after.find(({ name }) => name === entry.name);
  const same = entry.unchanged !== null && entry.unchanged === now?.unchanged;
  return same ? entry : { ...entry, documents: null };
}

async function take(
  ctx: Context,
  client: Client,
  { repository, name, wanted }: { repository: Repository; name: string; wanted: readonly string[] },
): Promise<Snapshot> {
  const path = snapshotPath(repository.name, name);
  const indices = wanted.length > 0 ? wanted.join(',') : NOTHING;
  const body = { indices, ignore_unavailable: true, include_global_state: false, partial: false };
  const request = { method: 'PUT', path: `${path}?wait_for_completion=false`, body: JSON.stringify(body) } as const;
  await client.ask(ctx, `taking snapshot ${name}`, { ...request, once: true }, anything);
  for (let waitMs = POLL_MS_MIN; ; waitMs = Math.min(waitMs * 2, POLL_MS_MAX)) {
    const [seen] = (await client.ask(ctx, `looking at ${name}`, { method: 'GET', path }, snapshotsSchema)).snapshots;
    if (!seen) throw new Failure('missing', `${client.where}: snapshot ${name} vanished while it was taken`);
    if (seen.state !== 'IN_PROGRESS' && seen.state !== 'STARTED') {
      const trouble = troubleOf(seen);
      if (trouble !== null) throw unreadable(client.where, trouble);
      return seen;
    }
    await ctx.sleep(waitMs);
  }
}

/** Null when all of it is whole: anything else than SUCCESS without a failed shard is not. */
function troubleOf({ snapshot, state, shards, failures }: Snapshot): string | null {
  const failed = shards?.failed ?? 0;
  if (state === 'SUCCESS' && shards && failed === 0 && failures.length === 0 && shards.total === shards.successful) {
    return null;
  }
  const reasons = failures.map(({ index, reason }) => `${index ?? ''}: ${reason ?? ''}`.slice(0, 200));
  const why = reasons.length > 0 ? `: ${named(reasons)}` : '';
  return `snapshot ${snapshot} is ${state}, ${failed} of ${shards?.total ?? 0} shards failed${why}`;
}

export async function restoreSnapshot(
  ctx: Context,
  settings: Settings,
  { base }: Chain,
  options: RestoreOptions = {},
): Promise<Restored> {
  const { select, rename = {} } = options;
  const replace = options.replace || options.delta;
  const where = `${base.point}/${base.component}/${SNAPSHOT_PART}`;
  const reference = parsed(referenceSchema, await readAll(base.get(ctx, SNAPSHOT_PART)), where);
  await using client = connect(settings);
  const session: Session = { client, server: await serverFacts(ctx, client), settings };
  await reach(ctx, client, settings, reference);
  await whole(ctx, client, reference);
  const isMeant = select ? matcher(select.indices ?? ['*', '.*']) : () => true;
  const wanted = [...reference.indices, ...reference.data_streams].filter(isMeant);
  if (wanted.length === 0) throw new Failure('missing', `${where} has no index ${(select?.indices ?? []).join(', ')}`);
  const taken = await inTheWay(
    ctx,
    session,
    wanted.map((name) => rename[name] ?? name),
  );
  if (taken.length > 0 && !replace) {
    throw new Failure('target-not-empty', `${client.where} has ${named(taken.map(({ name }) => name))} already`, {
      hint: 'restore under other names (--rename), or replace what is there (--in-place)',
    });
  }
  const definitions = select ? [] : await definitionsToSet(ctx, session, base, { replace });
  for (const path of taken.map(({ path }) => path)) {
    const reply = await client.send(ctx, { method: 'DELETE', path });
    if (reply.status >= 300 && reply.status !== 404) throw client.refusal(`removing ${path}`, reply);
  }
  for (const each of definitions) await putDefinition(ctx, client, session.server, each);
  const renamed = wanted.filter((name) => rename[name] !== undefined);
  const groups = [wanted.filter((name) => !renamed.includes(name)), ...renamed.map((name) => [name])];
  for (const names of groups) {
    if (names.length > 0) await bringBack(ctx, client, { reference, names, into: rename[names[0] ?? ''] });
  }
  const { names, missing } = await namesOf(ctx, base, { wanted, isMeant }, options);
  const inventory = (later: Context): Promise<InventoryReader> => restoredInventory(later, settings, names);
  return { bytes: 0, method: 'snapshot', warnings: [], missing, inventory };
}

/** A renamed index takes no aliases with it, so that nothing is said of aliases then. */
async function namesOf(
  ctx: Context,
  base: Source,
  { wanted, isMeant }: { wanted: readonly string[]; isMeant: (name: string) => boolean },
  { select, rename }: RestoreOptions,
): Promise<{ names: NamesBefore; missing: string[] }> {
  const missing: string[] = [];
  const aliases = new Map<string, string>();
  const definitions = new Set<string>();
  for await (const { kind, name, detail } of inventoryOf(base).lines(ctx)) {
    const state = kind === 'index' && isMeant(name) ? stateOf(detail) : null;
    if (state !== null) missing.push(`index ${name}: it was ${state} when it was captured, and is not in the snapshot`);
    if (kind === 'alias') aliases.set(name, name);
    else if (!select && DEFINITION_KINDS.some((each) => each === kind)) definitions.add(`${kind} ${name}`);
  }
  const indices = new Map(wanted.map((name) => [rename?.[name] ?? name, name]));
  return { names: { indices, aliases, left: rename ? [...aliases.keys()] : [], definitions }, missing };
}

const restoredSchema = z.object({
  snapshot: z.object({ shards: z.object({ total: z.number(), failed: z.number(), successful: z.number() }) }),
});

async function bringBack(
  ctx: Context,
  client: Client,
  { reference, names, into }: { reference: Reference; names: readonly string[]; into: string | undefined },
): Promise<void> {
  const { repository, snapshot } = reference;
  const renamed =
    into === undefined
      ? {}
      : { rename_pattern: '(?s)^.*$', rename_replacement: into.replace(/[$\\]/g, '\\$&'), include_aliases: false };
  const body = JSON.stringify({ indices: names.join(','), include_global_state: false, partial: false, ...renamed });
  const path = `${snapshotPath(repository.name, snapshot)}/_restore?wait_for_completion=true`;
  const what = `restoring ${named(names)}`;
  const { shards } = (await client.ask(ctx, what, { method: 'POST', path, body }, restoredSchema)).snapshot;
  if (shards.failed === 0 && shards.successful === shards.total) return;
  throw new Failure('source-damaged', `${client.where}: ${shards.failed} of ${shards.total} shards did not come back`);
}

/** Names that are needed and taken, with what removes each. */
async function inTheWay(
  ctx: Context,
  session: Session,
  needed: readonly string[],
): Promise<{ name: string; path: string }[]> {
  const there = await listing(ctx, session, null);
  const aliases = await aliasesOf(ctx, session.client);
  const isNeeded = (name: string): boolean => needed.includes(name);
  return [
    ...there.streams.filter(({ name }) => isNeeded(name)).map(({ name }) => at(name, '/_data_stream/')),
    ...there.indices.filter(({ name }) => isNeeded(name)).map(({ name }) => at(name, '/')),
    ...[...aliases.keys()].filter(isNeeded).map((name) => at(name, '/_all/_alias/')),
  ];
}

function at(name: string, folder: string): { name: string; path: string } {
  return { name, path: folder + encodeURIComponent(name) };
}

/** What `external` of a point names: still there, the same one, and whole. */
export async function* checkSnapshot(ctx: Context, settings: Settings, external: Json): AsyncIterable<Finding> {
  const reference = referenceFrom(external);
  const check = `snapshot ${reference.snapshot} is whole`;
  await using client = connect(settings);
  try {
    await reach(ctx, client, settings, reference);
    await whole(ctx, client, reference);
    const { total } = reference.shards;
    yield { check, verdict: 'pass', detail: `${reference.indices.length} indices, ${total} shards` };
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    if (error instanceof Failure && ['unreachable', 'timeout'].includes(error.code)) {
      yield { check, verdict: 'unknown', detail: messageOf(error) };
    } else yield { check, verdict: 'fail', detail: messageOf(error) };
  }
}

export async function releaseSnapshot(ctx: Context, settings: Settings, external: Json): Promise<void> {
  const { repository, snapshot, uuid } = referenceFrom(external);
  await using client = connect(settings);
  const path = snapshotPath(repository.name, snapshot);
  const found = await client.find(ctx, `looking at ${snapshot}`, { method: 'GET', path }, snapshotsSchema);
  if (found?.snapshots[0]?.uuid !== uuid) return; // gone, or another one that is not ours
  const reply = await client.send(ctx, { method: 'DELETE', path });
  if (reply.status >= 300 && reply.status !== 404) throw client.refusal(`removing ${snapshot}`, reply);
}

async function whole(ctx: Context, client: Client, { repository, snapshot, uuid, shards }: Reference): Promise<void> {
  const path = snapshotPath(repository.name, snapshot);
  const found = await client.find(ctx, `looking at ${snapshot}`, { method: 'GET', path }, snapshotsSchema);
  const seen = found?.snapshots[0];
  const what = `${client.where}: snapshot ${snapshot} of repository ${repository.name}`;
  if (!seen) throw new Failure('missing', `${what} is gone`);
  if (seen.uuid !== uuid) throw new Failure('checksum', `${what} is another one of the same name`);
  const trouble = troubleOf(seen);
  if (trouble !== null || seen.shards?.total !== shards.total)
    throw new Failure('checksum', `${what}: ${trouble ?? 'it has other shards'}`);
}

/** At another cluster the repository is not known yet: it is registered there, only to be read. */
async function reach(ctx: Context, client: Client, settings: Settings, { repository }: Reference): Promise<void> {
  const path = `/_snapshot/${encodeURIComponent(repository.name)}`;
  const known = await client.find(ctx, `looking at repository ${repository.name}`, { method: 'GET', path }, anything);
  if (known !== null) return;
  const told = settings.repository ?? { ...repository, settings: repository.place };
  const body = JSON.stringify({ type: told.type, settings: { ...told.settings, readonly: true } });
  await client.ask(ctx, `registering repository ${repository.name}`, { method: 'PUT', path, body }, anything);
}

/** The cluster tries to write there from every node before it says yes. */
async function register(ctx: Context, client: Client, { name, type, settings }: Repository): Promise<void> {
  const path = `/_snapshot/${encodeURIComponent(name)}`;
  const body = JSON.stringify({ type, settings });
  await client.ask(ctx, `registering repository ${name}`, { method: 'PUT', path, body }, anything);
}

async function forget(ctx: Context, client: Client, path: string): Promise<void> {
  const patient = { ...ctx, signal: AbortSignal.timeout(ABANDON_MS) };
  await client.send(patient, { method: 'DELETE', path }).catch((error) => {
    ctx.log.warn('a snapshot that failed is still there', { path, reason: messageOf(error) });
  });
}

function referenceOf(
  { name, type, settings }: Repository,
  { snapshot, uuid, indices, data_streams, shards }: Snapshot,
  backing: ReadonlySet<string>,
): Reference {
  const own = indices.filter((index) => !backing.has(index)).sort();
  const place = Object.fromEntries(
    Object.entries(settings).filter(([each]) => !/key|secret|token|password/.test(each)),
  );
  const { total = 0, successful = 0 } = shards ?? {};
  return {
    repository: { name, type, place },
    snapshot,
    uuid,
    indices: own,
    data_streams,
    shards: { total, successful },
  };
}

function referenceFrom(external: Json): Reference {
  const { data, error } = referenceSchema.safeParse(external);
  if (data) return data;
  throw new Failure('malformed', 'what the point says of its snapshot is not what was expected', { cause: error });
}

function repositoryOf({ repository }: Settings): Repository {
  if (repository) return repository;
  throw new Failure('settings-invalid', 'elasticsearch: repository: method snapshot needs one');
}

function snapshotPath(repository: string, snapshot: string): string {
  return `/_snapshot/${encodeURIComponent(repository)}/${encodeURIComponent(snapshot)}`;
}

function unreadable(where: string, why: string): Failure {
  return new Failure('source-damaged', `${where}: ${why}`, { hint: 'look at _cluster/allocation/explain' });
}
