// Has the cluster bring a snapshot of its own back. What is in the way is known before anything is touched; an index
// of which a shard did not come back is removed again and named.

import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, InventoryReader, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { patient, withoutAgeing } from './ageing.ts';
import { named } from './capture.ts';
import { type Client, parsed } from './client.ts';
import { stateOf } from './compare.ts';
import { DEFINITION_KINDS, putDefinition } from './definitions.ts';
import type { NamesBefore } from './entries.ts';
import { restoredInventory, selectedOf } from './inventory.ts';
import { aliasesOf, type ListedIndex, listing, matcher } from './listing.ts';
import { definitionsToSet, type PlannedDefinition, refuseHeld } from './plan.ts';
import { type Reference, reach, referenceSchema, SNAPSHOT_PART, snapshotPath, whole } from './snapshot.ts';
import type { Session } from './survey.ts';

const POLL_MS_MIN = 100;
const POLL_MS_MAX = 5_000;
const anything = z.unknown();

export interface SnapshotPlan {
  readonly reference: Reference;
  /** Of indices and data streams, as in the snapshot. */
  readonly wanted: readonly string[];
  readonly definitions: readonly PlannedDefinition[];
  /** What has a name that is needed, with what removes it. */
  readonly taken: readonly { readonly name: string; readonly path: string }[];
  readonly names: NamesBefore;
  readonly missing: readonly string[];
}

export async function restoreSnapshot(
  ctx: Context,
  session: Session,
  base: Source,
  options: RestoreOptions,
): Promise<Restored> {
  const { client, settings } = session;
  const plan = await planSnapshot(ctx, session, base, options);
  await reach(ctx, client, settings, plan.reference);
  await whole(ctx, client, plan.reference);
  const { done: lost, settling } = await withoutAgeing(ctx, session, { plan, options }, () => {
    return carryOut(ctx, session, plan, options);
  });
  const inventory = (later: Context): Promise<InventoryReader> => restoredInventory(later, settings, plan.names);
  const missing = [...plan.missing, ...lost];
  const selected = options.select ? { selected: selectedOf(plan.names) } : {};
  return { bytes: 0, method: 'snapshot', warnings: [], missing, inventory, ...selected, ...settling };
}

/** Changes nothing. Throws when something stands in the way that may not be replaced. */
export async function planSnapshot(
  ctx: Context,
  session: Session,
  base: Source,
  options: RestoreOptions,
): Promise<SnapshotPlan> {
  const { select, rename = {} } = options;
  const replace = options.replace || options.delta;
  const where = `${base.point}/${base.component}/${SNAPSHOT_PART}`;
  const reference = parsed(referenceSchema, await readAll(base.get(ctx, SNAPSHOT_PART)), where);
  const isMeant = select ? matcher(select.indices ?? ['*', '.*']) : () => true;
  const wanted = [...reference.indices, ...reference.data_streams].filter(isMeant);
  if (wanted.length === 0) throw new Failure('missing', `${where} has no index ${(select?.indices ?? []).join(', ')}`);
  if (!replace && !select && !options.rename) refuseHeld(session, await listing(ctx, session, null));
  const { names, missing } = await namesOf(ctx, base, { wanted, isMeant }, options);
  const needed = wanted.map((name) => rename[name] ?? name);
  const taken = await inTheWay(ctx, session, { needed, aliases: options.rename ? [] : [...names.aliases.keys()] });
  if (taken.length > 0 && !replace) {
    throw new Failure(
      'target-not-empty',
      `${session.client.where} has ${named(taken.map(({ name }) => name))} already`,
      {
        hint: 'restore under other names (--rename), or replace what is there (--in-place)',
      },
    );
  }
  const definitions = select ? [] : await definitionsToSet(ctx, session, base, { replace });
  return { reference, wanted, definitions, taken, names, missing };
}

/** Names what did not come back whole. */
async function carryOut(
  ctx: Context,
  { client, server }: Session,
  { reference, wanted, definitions, taken }: SnapshotPlan,
  { rename = {} }: RestoreOptions,
): Promise<string[]> {
  for (const { path } of taken) await remove(ctx, client, path);
  for (const each of definitions) await putDefinition(ctx, client, server, each);
  const renamed = wanted.filter((name) => rename[name] !== undefined);
  const groups = [wanted.filter((name) => !renamed.includes(name)), ...renamed.map((name) => [name])];
  const intos = (names: readonly string[]): string[] => names.map((name) => rename[name] ?? name);
  const accepted: string[] = [];
  try {
    for (const names of groups) {
      const into = rename[names[0] ?? ''];
      if (names.length === 0) continue;
      await order(ctx, client, { reference, names, into });
      accepted.push(...intos(names));
      await awaitEnd(ctx, client, reference);
    }
    const halves = await removeThose(ctx, { client, server }, ({ name, stream, isRed }) => {
      return isRed && accepted.includes(stream ?? name);
    });
    return halves.map((name) => `${name}: not all of its shards came back from the snapshot, so that it was removed`);
  } catch (error) {
    const later = patient(ctx);
    const asked = intos(wanted);
    const isOurs = async ({ name, stream }: ListedIndex): Promise<boolean> => {
      if (!asked.includes(stream ?? name)) return false;
      return accepted.includes(stream ?? name) || (await isOf(later, client, reference, name));
    };
    await removeThose(later, { client, server }, isOurs).catch((cause) => {
      ctx.log.warn('what was restored before the failure is still there', { reason: messageOf(cause) });
    });
    throw error;
  }
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
  const whole = new Set<string>();
  const definitions = new Set<string>();
  for await (const { kind, name, detail } of inventoryOf(base).lines(ctx)) {
    const state = kind === 'index' && isMeant(name) ? stateOf(detail) : null;
    if (state !== null) missing.push(`index ${name}: it was ${state} when it was captured, and is not in the snapshot`);
    if (kind === 'alias' && holdersIn(detail)?.every((index) => wanted.includes(index))) whole.add(name);
    if (kind === 'alias' && isOfThese(wanted, detail, select === undefined)) aliases.set(name, name);
    else if (!select && DEFINITION_KINDS.some((each) => each === kind)) definitions.add(`${kind} ${name}`);
  }
  const indices = new Map(wanted.map((name) => [rename?.[name] ?? name, name]));
  return { names: { indices, aliases, whole, left: rename ? [...aliases.keys()] : [], definitions }, missing };
}

const aliasDetailSchema = z.object({ indices: z.array(z.string()) });

/** Points of earlier versions do not say which indices an alias stands for. */
function holdersIn(detail: unknown): readonly string[] | undefined {
  return aliasDetailSchema.safeParse(detail).data?.indices;
}

function isOfThese(wanted: readonly string[], detail: unknown, unsaid: boolean): boolean {
  return holdersIn(detail)?.some((name) => wanted.includes(name)) ?? unsaid;
}

async function order(
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
  const path = `${snapshotPath(repository.name, snapshot)}/_restore?wait_for_completion=false`;
  // Asked once: a second time the indices of the first would be in the way.
  await client.ask(ctx, `restoring ${named(names)}`, { method: 'POST', path, body, once: true }, anything);
}

/** Says nothing until all shards are back or given up: that takes as long as it takes, and no request waits for it. */
async function awaitEnd(ctx: Context, client: Client, reference: Reference): Promise<void> {
  for (let waitMs = POLL_MS_MIN; await underWay(ctx, client, reference); waitMs = Math.min(waitMs * 2, POLL_MS_MAX)) {
    await ctx.sleep(waitMs);
  }
}

const underWaySchema = z.object({
  restore: z
    .object({
      snapshots: z.array(z.object({ snapshot: z.string(), repository: z.string(), indices: z.array(z.string()) })),
    })
    .optional(),
});

/** The indices that are being restored from this snapshot, null when that has ended. */
async function underWay(
  ctx: Context,
  client: Client,
  { repository, snapshot }: Reference,
): Promise<readonly string[] | null> {
  const fields = ['snapshot', 'repository', 'indices'].map((each) => `restore.snapshots.${each}`).join(',');
  const path = `/_cluster/state/customs?filter_path=${fields}`;
  const { restore } = await client.ask(ctx, 'looking at restores', { method: 'GET', path }, underWaySchema);
  const own = restore?.snapshots.filter((each) => each.snapshot === snapshot && each.repository === repository.name);
  return own && own.length > 0 ? own.flatMap(({ indices }) => indices) : null;
}

const recoverySchema = z.record(
  z.string(),
  z.object({
    shards: z.array(z.object({ source: z.object({ repository: z.string(), snapshot: z.string() }).partial() })),
  }),
);

/** An index that comes from this snapshot, and not one that somebody else has made under its name meanwhile. */
async function isOf(ctx: Context, client: Client, reference: Reference, name: string): Promise<boolean> {
  if ((await underWay(ctx, client, reference))?.includes(name)) return true;
  const { repository, snapshot } = reference;
  const path = `/${encodeURIComponent(name)}/_recovery`;
  const found = await client.find(ctx, `asking where ${name} comes from`, { method: 'GET', path }, recoverySchema);
  const sources = (found?.[name]?.shards ?? []).map(({ source }) => source);
  return sources.some((source) => source.snapshot === snapshot && source.repository === repository.name);
}

/** An index that lacks shards must not be taken for one that is back; those beside it that are whole stay. */
async function removeThose(
  ctx: Context,
  { client, server }: Pick<Session, 'client' | 'server'>,
  isMeant: (index: ListedIndex) => boolean | Promise<boolean>,
): Promise<string[]> {
  const { indices } = await listing(ctx, { client, server }, null);
  const paths = new Map<string, string>();
  for (const index of indices) {
    if (!(await isMeant(index))) continue;
    const { name, path } = index.stream === null ? at(index.name, '/') : at(index.stream, '/_data_stream/');
    paths.set(name, path);
  }
  for (const path of paths.values()) await remove(ctx, client, path);
  return [...paths.keys()];
}

async function remove(ctx: Context, client: Client, path: string): Promise<void> {
  const reply = await client.send(ctx, { method: 'DELETE', path });
  if (reply.status >= 300 && reply.status !== 404) throw client.refusal(`removing ${path}`, reply);
}

/** Names that are needed and taken, with what removes each; an alias can't have the name of an index either. */
async function inTheWay(
  ctx: Context,
  session: Session,
  { needed, aliases }: { needed: readonly string[]; aliases: readonly string[] },
): Promise<{ name: string; path: string }[]> {
  const there = await listing(ctx, session, null);
  const held = await aliasesOf(ctx, session.client);
  const isNeeded = (name: string): boolean => needed.includes(name);
  const isTaken = (name: string): boolean => isNeeded(name) || aliases.includes(name);
  return [
    ...there.streams.filter(({ name }) => isTaken(name)).map(({ name }) => at(name, '/_data_stream/')),
    ...there.indices.filter(({ name }) => isTaken(name)).map(({ name }) => at(name, '/')),
    ...[...held.keys()].filter(isNeeded).map((name) => at(name, '/_all/_alias/')),
  ];
}

function at(name: string, folder: string): { name: string; path: string } {
  return { name, path: folder + encodeURIComponent(name) };
}
