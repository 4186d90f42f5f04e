// Brings a point back: indices with their own settings and mappings, documents by the bulk API, then what was held
// back, then aliases.

import { z } from 'zod';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context, InventoryReader, Json, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { type Gate, gate, mapBounded } from '../../core/parallel.ts';
import { patient, withoutAgeing } from './ageing.ts';
import { batchesOf, type Refused, sendBatch } from './bulk.ts';
import type { Client, Reply } from './client.ts';
import { deleteDefinition, putDefinition } from './definitions.ts';
import type { IndexEntry, IndexPlan, StreamPlan } from './entries.ts';
import { restoredInventory, selectedOf } from './inventory.ts';
import { planRestore, type RestorePlan } from './plan.ts';
import { splitSettings } from './portable.ts';
import type { Session } from './survey.ts';

const INDICES_PARALLEL = 4;
const REQUESTS_PARALLEL = 4;
/** Each holds as many requests as there are at a time. */
const PARTS_PARALLEL = 2;
const UNKNOWN_SETTINGS_MAX = 20;

interface Work extends Session {
  readonly base: Source;
  readonly plan: RestorePlan;
  readonly requests: Gate;
  readonly parts: Gate;
  readonly jobs: number;
  readonly missing: string[];
  readonly warnings: string[];
  /** What was made, to be removed again when the restore fails. */
  readonly made: { kind: 'index' | 'stream'; name: string }[];
  bytes: number;
}

export async function restore(
  ctx: Context,
  session: Session,
  base: Source,
  options: RestoreOptions,
): Promise<Restored> {
  const { settings } = session;
  const plan = await planRestore(ctx, session, base, options);
  const jobs = options.jobs ?? REQUESTS_PARALLEL;
  const { missing, warnings } = { missing: [...plan.missing], warnings: [...plan.warnings] };
  const gates = { requests: gate(jobs), parts: gate(PARTS_PARALLEL) };
  const work: Work = { ...session, base, plan, ...gates, jobs, missing, warnings, made: [], bytes: 0 };
  const { settling } = await withoutAgeing(ctx, session, { plan, options }, async () => {
    try {
      await makeRoom(ctx, work);
      await bringBack(ctx, work);
    } catch (error) {
      await undo(ctx, work);
      throw error;
    }
  });
  const inventory = (later: Context): Promise<InventoryReader> => restoredInventory(later, settings, plan.names);
  const selected = options.select ? { selected: selectedOf(plan.names) } : {};
  return { bytes: work.bytes, method: 'bulk', warnings, missing, inventory, ...selected, ...settling };
}

async function bringBack(ctx: Context, work: Work): Promise<void> {
  const { plan, client, server } = work;
  const before = plan.definitions.filter(({ kind }) => kind === 'pipeline' || kind === 'policy');
  for (const each of before)
    await attempt(work, `${each.kind} ${each.name}`, () => putDefinition(ctx, client, server, each));
  // Templates would add to what the point says of an index, so they come after.
  await mapBounded(plan.indices, INDICES_PARALLEL, (index) => restoreIndex(ctx, work, index));
  for (const each of plan.definitions) {
    if (before.includes(each)) continue;
    await attempt(work, `${each.kind} ${each.name}`, () => putDefinition(ctx, client, server, each));
  }
  await mapBounded(plan.streams, INDICES_PARALLEL, (stream) => restoreStream(ctx, work, stream));
  await swapAliases(ctx, work);
  for (const { entry, into, body } of plan.indices) {
    const { last } = splitSettings(body.settings);
    const isMade = work.made.some(({ name }) => name === into);
    if (!isMade || Object.keys(last).length === 0) continue;
    await attempt(work, `settings of ${entry.name}`, () => putSettings(ctx, work, into, last));
  }
}

/** What the user asked to be replaced. */
async function makeRoom(ctx: Context, { client, plan }: Work): Promise<void> {
  const actions = plan.unalias.flatMap(({ alias, holders }) => holders.map((index) => ({ remove: { index, alias } })));
  if (actions.length > 0) await order(ctx, client, 'freeing aliases', 'POST', '/_aliases', { actions });
  for (const name of plan.remove.streams) await remove(ctx, client, `/_data_stream/${encodeURIComponent(name)}`, name);
  for (const name of plan.remove.indices) await remove(ctx, client, `/${encodeURIComponent(name)}`, name);
}

async function remove(ctx: Context, client: Client, path: string, name: string): Promise<void> {
  const reply = await client.send(ctx, { method: 'DELETE', path });
  if (reply.status >= 300 && reply.status !== 404) throw client.refusal(`removing ${name}`, reply);
}

async function restoreIndex(ctx: Context, work: Work, { entry, into, body }: IndexPlan): Promise<void> {
  const { first, later } = splitSettings(body.settings);
  const made = await attempt(work, `index ${entry.name}`, () =>
    createIndex(ctx, work, into, { settings: first, mappings: body.mappings }),
  );
  if (!made) return;
  await load(ctx, work, { entry, into });
  const path = `/${encodeURIComponent(into)}`;
  await attempt(work, `settings of ${entry.name}`, () => putSettings(ctx, work, into, later));
  await order(ctx, work.client, `flushing ${into}`, 'POST', `${path}/_flush`);
  await order(ctx, work.client, `refreshing ${into}`, 'POST', `${path}/_refresh`);
  if (entry.state === 'closed') await order(ctx, work.client, `closing ${into}`, 'POST', `${path}/_close`);
}

/** Settings that the target does not know are left out, and told. */
async function createIndex(
  ctx: Context,
  work: Work,
  name: string,
  { settings, mappings }: { settings: Record<string, Json>; mappings: Record<string, Json> },
): Promise<void> {
  let left = settings;
  for (let dropped = 0; ; dropped++) {
    const body = JSON.stringify({ settings: left, mappings });
    const request = { method: 'PUT', path: `/${encodeURIComponent(name)}`, body } as const;
    const reply = await work.client.send(ctx, request);
    if (reply.status < 300 || isThereAlready(work.client, reply)) {
      work.made.push({ kind: 'index', name });
      return;
    }
    const refusal = work.client.refusal(`making ${name}`, reply);
    const unknown = unknownSetting(refusal, left);
    if (unknown === null || dropped === UNKNOWN_SETTINGS_MAX) throw refusal;
    work.missing.push(`setting ${unknown} of ${name}: the target does not know it`);
    left = Object.fromEntries(Object.entries(left).filter(([each]) => each !== unknown));
  }
}

/** The answer to the first request was lost: what was not there before comes from that. */
function isThereAlready(client: Client, reply: Reply): boolean {
  return reply.again && /already exists/.test(client.refusal('making it', reply).message);
}

async function putSettings(ctx: Context, work: Work, name: string, settings: Record<string, Json>): Promise<void> {
  let left = settings;
  for (let dropped = 0; ; dropped++) {
    const path = `/${encodeURIComponent(name)}/_settings`;
    const reply = await work.client.send(ctx, { method: 'PUT', path, body: JSON.stringify(left) });
    if (reply.status < 300) return;
    const refusal = work.client.refusal(`setting ${name}`, reply);
    const unknown = unknownSetting(refusal, left);
    if (unknown === null || dropped === UNKNOWN_SETTINGS_MAX) throw refusal;
    work.missing.push(`setting ${unknown} of ${name}: the target does not know it`);
    left = Object.fromEntries(Object.entries(left).filter(([each]) => each !== unknown));
  }
}

function unknownSetting({ message }: Failure, settings: Readonly<Record<string, Json>>): string | null {
  const [, name = ''] = /(?:unknown|private index) setting \[([^\]]+)\]/.exec(message) ?? [];
  return name in settings ? name : null;
}

/** All documents of an index, its parts side by side; those that are refused for good are counted and named. */
async function load(ctx: Context, work: Work, { entry, into }: { entry: IndexEntry; into: string }): Promise<void> {
  const refused: Refused = { documents: 0, reasons: [] };
  const loadPart = async ({ name, documents }: IndexEntry['parts'][number]): Promise<void> => {
    let sent = 0;
    await mapBounded(batchesOf(work.base.get(ctx, name), name), work.jobs, async (batch) => {
      await work.requests.run(() => sendBatch(ctx, work.client, into, batch, refused));
      sent += batch.documents;
      work.bytes += batch.body.length;
    });
    if (sent === documents) return;
    throw new Failure('malformed', `${work.base.point}/${name} has ${sent} documents, and ${documents} are expected`);
  };
  await mapBounded(entry.parts, PARTS_PARALLEL, (part) => work.parts.run(() => loadPart(part)));
  if (refused.documents === 0) return;
  work.missing.push(`${refused.documents} documents of ${entry.name}: ${refused.reasons.join('; ')}`);
}

/** Its documents are added in the order of the indices that backed it, each into a new one. */
async function restoreStream(ctx: Context, work: Work, { stream, into, backing }: StreamPlan): Promise<void> {
  const { client } = work;
  const path = `/${encodeURIComponent(into)}`;
  const made = await attempt(work, `data stream ${stream.name}`, async () => {
    const reply = await client.send(ctx, { method: 'PUT', path: `/_data_stream${path}` });
    if (reply.status >= 300 && !isThereAlready(client, reply)) {
      throw client.refusal(`making data stream ${into}`, reply);
    }
    work.made.push({ kind: 'stream', name: into });
  });
  if (!made) return;
  for (const [at, { entry, body }] of backing.entries()) {
    if (at > 0) await order(ctx, client, `rolling ${into} over`, 'POST', `${path}/_rollover`);
    const quiet = { 'index.final_pipeline': '_none', 'index.refresh_interval': '-1' };
    await order(ctx, client, `setting ${into}`, 'PUT', `${path}/_settings`, quiet);
    const mapping = `${path}/_mapping?write_index_only=true`;
    const said = await client.send(ctx, { method: 'PUT', path: mapping, body: JSON.stringify(body.mappings) });
    if (said.status >= 300) work.warnings.push(client.refusal(`setting the mapping of ${into}`, said).message);
    await load(ctx, work, { entry, into });
  }
  const last = backing.at(-1)?.body.settings ?? {};
  const names = ['index.final_pipeline', 'index.refresh_interval'];
  const back = Object.fromEntries(names.map((name) => [name, last[name] ?? null]));
  await order(ctx, client, `setting ${into}`, 'PUT', `${path}/_settings`, back);
  await order(ctx, client, `refreshing ${into}`, 'POST', `${path}/_refresh`);
}

/** In one step, so that nobody sees an alias nowhere or in both places. */
async function swapAliases(ctx: Context, { plan, client, made }: Work): Promise<void> {
  const there = new Set(made.map(({ name }) => name));
  const actions: Json[] = [];
  for (const { alias, holders } of plan.moved) {
    for (const index of holders) actions.push({ remove: { index, alias } });
  }
  for (const { index, alias, told } of plan.aliases) {
    if (there.has(index)) actions.push({ add: { index, alias, ...(told as Record<string, Json>) } });
  }
  if (actions.length > 0) await order(ctx, client, 'moving aliases', 'POST', '/_aliases', { actions });
}

/** False when the target refuses it for what it is: that is told, and the rest comes back all the same. */
async function attempt(work: Work, what: string, action: () => Promise<void>): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    if (!isFailure(error, 'denied')) throw error;
    work.missing.push(`${what}: ${messageOf(error)}`);
    return false;
  }
}

const anything = z.unknown();

async function order(
  ctx: Context,
  client: Client,
  what: string,
  method: 'PUT' | 'POST',
  path: string,
  body?: Json,
): Promise<void> {
  await client.ask(ctx, what, { method, path, ...(body !== undefined && { body: JSON.stringify(body) }) }, anything);
}

/** What was empty is left empty again, so that the restore can be repeated. */
async function undo(ctx: Context, { client, server, made, plan }: Work): Promise<void> {
  const later = patient(ctx);
  try {
    for (const { kind, name } of made) {
      const folder = kind === 'stream' ? '/_data_stream/' : '/';
      await remove(later, client, folder + encodeURIComponent(name), name);
    }
    const own = plan.definitions.filter(({ isThere }) => !isThere); // what was replaced is not known any more
    for (const each of own.toReversed()) await deleteDefinition(later, client, server, each);
  } catch (error) {
    ctx.log.warn('what was restored before the failure is still there', { reason: messageOf(error) });
  }
}
