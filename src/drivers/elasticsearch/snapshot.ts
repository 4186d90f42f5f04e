// Snapshots that the cluster takes itself, into a repository that it reaches. The documents lie outside of our stores:
// the point says where, and what makes them whole.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { interruption, outliving } from '../../core/context.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import { putInventory } from '../../core/inventory.ts';
import type { Capture, Context, Finding, Json, Sink } from '../../core/model.ts';
import { definitionParts, named, putJson } from './capture.ts';
import { type Client, connect } from './client.ts';
import { type IndexEntry, inventoryLines, STREAMS_PART } from './entries.ts';
import { listing } from './listing.ts';
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
  await cleanUp(ctx, client, repository.name);
}

/** Files that no snapshot refers to any more, of snapshots that broke off. What is left, the next release removes. */
async function cleanUp(ctx: Context, client: Client, repository: string): Promise<void> {
  const path = `/_snapshot/${encodeURIComponent(repository)}/_cleanup`;
  const reply = await client.send(ctx, { method: 'POST', path, once: true });
  if (reply.status < 300) return;
  ctx.log.debug('the repository was not cleaned', { reason: client.refusal('cleaning it', reply).message });
}

export async function whole(
  ctx: Context,
  client: Client,
  { repository, snapshot, uuid, shards }: Reference,
): Promise<void> {
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
export async function reach(
  ctx: Context,
  client: Client,
  settings: Settings,
  { repository }: Reference,
): Promise<void> {
  const path = `/_snapshot/${encodeURIComponent(repository.name)}`;
  const known = await client.find(ctx, `looking at repository ${repository.name}`, { method: 'GET', path }, anything);
  if (known !== null) return;
  const told = settings.repository ?? { ...repository, settings: repository.place };
  const body = JSON.stringify({ type: told.type, settings: { ...told.settings, readonly: true } });
  await client.ask(ctx, `registering repository ${repository.name}`, { method: 'PUT', path, body }, anything);
}

const repositoriesSchema = z.record(
  z.string(),
  z.object({ type: z.string(), settings: z.record(z.string(), z.json()).default({}) }),
);

/** The cluster tries to write there from every node before it says yes. */
async function register(ctx: Context, client: Client, { name, type, settings }: Repository): Promise<void> {
  const path = `/_snapshot/${encodeURIComponent(name)}`;
  const what = `registering repository ${name}`;
  const reply = await client.send(ctx, { method: 'PUT', path, body: JSON.stringify({ type, settings }) });
  if (reply.status < 300) return;
  // While a snapshot is taken there a repository can't be changed: one that is as it should be will do.
  const known = (await client.find(ctx, what, { method: 'GET', path }, repositoriesSchema))?.[name];
  const isSame = Object.entries(placeOf(settings)).every(
    ([key, value]) => String(known?.settings[key]) === String(value),
  );
  if (known?.type !== type || !isSame) throw client.refusal(what, reply);
  await client.ask(ctx, `verifying repository ${name}`, { method: 'POST', path: `${path}/_verify` }, anything);
}

function placeOf(settings: Repository['settings']): Repository['settings'] {
  return Object.fromEntries(Object.entries(settings).filter(([each]) => !/key|secret|token|password/.test(each)));
}

async function forget(ctx: Context, client: Client, path: string): Promise<void> {
  const patient = outliving(ctx, ABANDON_MS);
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
  const place = placeOf(settings);
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

export function snapshotPath(repository: string, snapshot: string): string {
  return `/_snapshot/${encodeURIComponent(repository)}/${encodeURIComponent(snapshot)}`;
}

function unreadable(where: string, why: string): Failure {
  return new Failure('source-damaged', `${where}: ${why}`, { hint: 'look at _cluster/allocation/explain' });
}
