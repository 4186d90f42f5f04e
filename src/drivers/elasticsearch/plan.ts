// What a restore will do, and what stands in its way: known before anything is touched.

import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, Json, RestoreOptions, Source } from '../../core/model.ts';
import { canonical } from './canonical.ts';
import { entriesOf, named } from './capture.ts';
import { parsed } from './client.ts';
import { DEFINITION_KINDS, type Definition, definitionsOf } from './definitions.ts';
import { differing } from './delta.ts';
import {
  DEFINITIONS_FOLDER,
  definitionOfPart,
  type IndexBody,
  type IndexEntry,
  type IndexPlan,
  indexBodySchema,
  indexPart,
  type NamesBefore,
  STREAMS_PART,
  type StreamPlan,
  streamsSchema,
} from './entries.ts';
import { aliasesOf, type Listing, lawful, listing, matcher } from './listing.ts';
import type { Session } from './survey.ts';

export interface PlannedDefinition extends Definition {
  /** The target has one of its name, which says something else. */
  readonly isThere: boolean;
}
export interface AliasMove {
  readonly alias: string;
  readonly holders: readonly string[];
}
export interface RestorePlan {
  readonly indices: readonly IndexPlan[];
  readonly streams: readonly StreamPlan[];
  /** Not there yet, or there and other than in the point. */
  readonly definitions: readonly PlannedDefinition[];
  /** What goes first, because it has a name that is needed. */
  readonly remove: { readonly indices: readonly string[]; readonly streams: readonly string[] };
  /** Aliases that have a name that is needed. */
  readonly unalias: readonly AliasMove[];
  /** Aliases of the point that others hold and give up when the restored ones take them. */
  readonly moved: readonly AliasMove[];
  /** Of what comes back: those that others hold and keep are left out. */
  readonly aliases: readonly { readonly alias: string; readonly index: string; readonly told: Json }[];
  /** What things of the point are called at the target, the other way round. */
  readonly names: NamesBefore;
  readonly warnings: readonly string[];
  /** What can't come back, and why. */
  readonly missing: readonly string[];
  /** Of these: what stays at the target as it is. */
  readonly left: readonly string[];
}

interface Target {
  readonly listing: Listing;
  readonly aliases: ReadonlyMap<string, readonly string[]>;
}

export async function planRestore(
  ctx: Context,
  session: Session,
  base: Source,
  options: RestoreOptions,
): Promise<RestorePlan> {
  const { holders, ...point } = await readPoint(ctx, base, options);
  const { rename = {}, select } = options;
  const replace = options.replace || options.delta;
  const target: Target = {
    listing: await listing(ctx, session, null),
    aliases: await aliasesOf(ctx, session.client),
  };
  const able = replace ? ableToReplace(point, target, rename) : { ...point, left: [] };
  const wanted = options.delta ? { ...able, ...(await differing(ctx, session, able)) } : able;
  const isPart = select !== undefined || options.rename !== undefined;
  if (!replace && !isPart) refuseHeld(session, target.listing);
  const definitions = select ? [] : await definitionsToSet(ctx, session, base, { replace });
  const taken = takenNames(wanted, target, rename);
  if (taken.length > 0 && !replace) {
    throw new Failure('target-not-empty', `${session.client.where} has ${named(taken)} already`, {
      hint: 'restore under other names (--rename), or replace what is there (--in-place)',
    });
  }
  const { stay, ...changed } = changes(wanted, target, { replace, rename, holders });
  const names = await namesBefore(ctx, base, { point, rename, stay, holders, isPart: select !== undefined });
  return { ...wanted, ...changed, definitions, names };
}

interface Naming {
  readonly point: Wanted;
  readonly rename: Renames;
  /** Aliases that others keep. */
  readonly stay: ReadonlySet<string>;
  readonly holders: Holders;
  readonly isPart: boolean;
}

/** Each by its name at the target. */
async function namesBefore(
  ctx: Context,
  base: Source,
  { point, rename, stay, holders, isPart }: Naming,
): Promise<NamesBefore> {
  const indices = new Map([
    ...point.indices.map(({ entry, into }) => [into, entry.name] as const),
    ...point.streams.map(({ stream, into }) => [into, stream.name] as const),
  ]);
  const aliases = new Map<string, string>();
  for (const { body } of point.indices) {
    for (const alias of Object.keys(body.aliases)) aliases.set(rename[alias] ?? alias, alias);
  }
  const left = [...stay].map((alias) => aliases.get(alias) ?? alias);
  const definitions = new Set<string>();
  for await (const { name } of isPart ? [] : base.parts(ctx, DEFINITIONS_FOLDER)) {
    const told = definitionOfPart(name);
    if (told) definitions.add(`${told.kind} ${told.name}`);
  }
  const isWhole = (alias: string): boolean => [...(holders.get(alias) ?? [])].every((index) => indices.has(index));
  const whole = new Set([...aliases].flatMap(([alias, name]) => (isWhole(alias) ? [name] : [])));
  return { indices, aliases, whole, left, definitions };
}

type Renames = Readonly<Record<string, string>>;
type Wanted = Pick<RestorePlan, 'indices' | 'streams' | 'missing'>;
/** The indices that each alias stands for in all of the point, by their names at the target. */
type Holders = ReadonlyMap<string, ReadonlySet<string>>;

async function readPoint(
  ctx: Context,
  base: Source,
  { select, rename = {} }: RestoreOptions,
): Promise<Wanted & { holders: Holders }> {
  const entries = await entriesOf(ctx, base);
  const streams = await jsonPart(ctx, base, STREAMS_PART, streamsSchema);
  const isMeant = select ? matcher(select.indices ?? ['*', '.*']) : () => true;
  const aliases = [...entries.values()].flatMap((entry) => Object.keys(entry.aliases));
  const known = new Set([...entries.keys(), ...streams.map(({ name }) => name), ...aliases]);
  for (const name of Object.keys(rename)) {
    if (!known.has(name)) throw new Failure('usage', `the point has no index or alias ${name} that could be renamed`);
  }
  const indices: IndexPlan[] = [];
  const missing: string[] = [];
  for (const entry of entries.values()) {
    const { name, state, stream } = entry;
    if (!isMeant(stream ?? name)) continue;
    if (state === 'deleted') missing.push(`${stream ?? 'index'} ${name}: it was deleted while it was captured`);
    else if (state !== 'open') missing.push(`documents of ${name}: it was ${state} when it was captured`);
    if (entry.without_source > 0)
      missing.push(`${entry.without_source} documents of ${name}: the server had no _source`);
    if (entry.fields_kept_out) missing.push(`fields of ${name}: its mapping keeps them out of _source`);
    if (stream !== null || state === 'deleted') continue;
    const body = await jsonPart(ctx, base, indexPart(lawful(name)), indexBodySchema);
    indices.push({ entry, into: lawful(rename[name] ?? name), body });
  }
  const plans: StreamPlan[] = [];
  for (const stream of streams.filter(({ name }) => isMeant(name))) {
    const backing: { entry: IndexEntry; body: IndexBody }[] = [];
    for (const name of stream.indices) {
      const entry = entries.get(name);
      if (!entry || entry.state === 'deleted') continue;
      backing.push({ entry, body: await jsonPart(ctx, base, indexPart(lawful(name)), indexBodySchema) });
    }
    plans.push({ stream, into: lawful(rename[stream.name] ?? stream.name), backing });
  }
  if (select && indices.length === 0 && plans.length === 0) {
    throw new Failure('missing', `${base.point}/${base.component} has no index ${(select.indices ?? []).join(', ')}`);
  }
  return { indices, streams: plans, missing, holders: holdersOf(entries.values(), rename) };
}

function holdersOf(entries: Iterable<IndexEntry>, rename: Renames): Holders {
  const found = new Map<string, Set<string>>();
  for (const { name, aliases } of entries) {
    for (const alias of aliasesIn({ aliases }, rename)) {
      found.set(alias, (found.get(alias) ?? new Set()).add(rename[name] ?? name));
    }
  }
  return found;
}

/** What the point lacks documents of replaces nothing: what the target has of them may be all that there is. */
function ableToReplace(
  { indices, streams, missing }: Wanted,
  { listing: there, aliases }: Target,
  rename: Renames,
): Wanted & Pick<RestorePlan, 'left'> {
  const held = new Set([...there.indices, ...there.streams].map(({ name }) => name));
  const lacks = (entry: IndexEntry): boolean => entry.documents === null || entry.without_source > 0;
  const stays = (into: string, entries: readonly IndexEntry[], own: readonly string[] = []): boolean => {
    return entries.some(lacks) && (aliases.has(into) || [into, ...own].some((name) => held.has(name)));
  };
  const staying = indices.filter(({ entry, into, body }) => stays(into, [entry], aliasesIn(body, rename)));
  const backing = (stream: StreamPlan): IndexEntry[] => stream.backing.map(({ entry }) => entry);
  const stayingStreams = streams.filter((each) => stays(each.into, backing(each)));
  const names = [...staying.map(({ entry }) => entry.name), ...stayingStreams.map(({ stream }) => stream.name)];
  const left = names.map((name) => `${name}: what is there stays as it is, since the point lacks documents of it`);
  return {
    indices: indices.filter((each) => !staying.includes(each)),
    streams: streams.filter((each) => !stayingStreams.includes(each)),
    missing: [...missing, ...left],
    left,
  };
}

/** A cluster that holds data of others takes no whole point without being told to. */
export function refuseHeld({ client, settings }: Session, { indices }: Listing): void {
  const isMeant = matcher(settings.indices);
  const held = indices.filter(({ name, stream }) => isMeant(stream ?? name)).map(({ name, stream }) => stream ?? name);
  if (held.length === 0) return;
  throw new Failure('target-not-empty', `${client.where} holds ${named([...new Set(held)])}`, {
    hint: 'restore chosen indices (--select index=NAME), under other names (--rename), or replace them (--in-place)',
  });
}

function takenNames({ indices, streams }: Wanted, { listing: there, aliases }: Target, rename: Renames): string[] {
  const held = new Set([...there.indices, ...there.streams].map(({ name }) => name));
  const names = [...indices, ...streams].map(({ into }) => into);
  const twice = names.filter((name, at) => names.indexOf(name) !== at);
  if (twice.length > 0)
    throw new Failure('usage', `${named(twice)} would be there twice: each needs a name of its own`);
  const own = indices.flatMap(({ body }) => aliasesIn(body, rename));
  return [
    ...names.filter((name) => held.has(name)).map((name) => `index ${name}`),
    ...names.filter((name) => aliases.has(name)).map((name) => `alias ${name}`),
    ...[...new Set(own)]
      .filter((name) => held.has(name))
      .map((name) => `index ${name}, which is an alias in the point`),
  ];
}

/** Names that are needed and taken are freed first; aliases of the point move at last, all in one step. */
function changes(
  { indices, streams }: Wanted,
  { listing: there, aliases }: Target,
  { replace = false, rename, holders: ofPoint }: { replace: boolean | undefined; rename: Renames; holders: Holders },
): Pick<RestorePlan, 'remove' | 'unalias' | 'moved' | 'aliases' | 'warnings'> & { stay: ReadonlySet<string> } {
  const own = new Set(indices.flatMap(({ body }) => aliasesIn(body, rename)));
  const meant = new Set(Object.values(rename));
  const needed = new Set([...indices, ...streams].map(({ into }) => into));
  const goes = ({ name }: { readonly name: string }): boolean => needed.has(name) || own.has(name);
  const remove = { indices: there.indices.filter(goes), streams: there.streams.filter(goes) };
  const gone = new Set(remove.indices.map(({ name }) => name));
  const unalias: AliasMove[] = [];
  const moved: AliasMove[] = [];
  const warnings: string[] = [];
  const stay = new Set<string>();
  for (const [alias, all] of aliases) {
    const holders = all.filter((index) => !gone.has(index));
    if (holders.length === 0) continue;
    if (needed.has(alias)) unalias.push({ alias, holders });
    else if (own.has(alias) && (replace || meant.has(alias))) {
      const others = holders.filter((index) => !ofPoint.get(alias)?.has(index));
      if (others.length > 0) moved.push({ alias, holders: others });
    } else if (own.has(alias)) {
      stay.add(alias);
      warnings.push(`alias ${alias} stays at ${named(holders)}: --rename ${alias}=${alias} moves it`);
    }
  }
  const removed = { indices: [...gone], streams: remove.streams.map(({ name }) => name) };
  const set = indices.flatMap(({ into, body }) => {
    return Object.entries(body.aliases).map(([name, told]) => ({ alias: rename[name] ?? name, index: into, told }));
  });
  return { remove: removed, unalias, moved, aliases: set.filter(({ alias }) => !stay.has(alias)), warnings, stay };
}

function aliasesIn({ aliases }: Pick<IndexBody, 'aliases'>, rename: Renames): string[] {
  return Object.keys(aliases).map((name) => rename[name] ?? name);
}

/** Not there yet, or there and other than in the point; in the order in which they need one another. */
export async function definitionsToSet(
  ctx: Context,
  { client, server }: Session,
  base: Source,
  { replace = false }: { replace: boolean | undefined },
): Promise<PlannedDefinition[]> {
  const there = new Map((await definitionsOf(ctx, client, server)).map((each) => [`${each.kind} ${each.name}`, each]));
  const found: PlannedDefinition[] = [];
  const other: string[] = [];
  for await (const { name: part } of base.parts(ctx, DEFINITIONS_FOLDER)) {
    const told = definitionOfPart(part);
    const kind = DEFINITION_KINDS.find((each) => each === told?.kind);
    if (!told || !kind) throw new Failure('malformed', `${base.point}/${base.component}/${part} is no definition`);
    const body = await jsonPart(ctx, base, part, z.record(z.string(), z.json()));
    const now = there.get(`${kind} ${told.name}`);
    if (now && canonical(now.body) === canonical(body)) continue;
    if (now) other.push(`another ${kind} ${told.name}`);
    found.push({ kind, name: told.name, body, isThere: now !== undefined });
  }
  if (other.length > 0 && !replace) {
    throw new Failure('target-not-empty', `${client.where} has ${named(other)} already`, {
      hint: 'restore chosen indices (--select index=NAME), or replace what is there (--in-place)',
    });
  }
  const order = (each: Definition): number => DEFINITION_KINDS.indexOf(each.kind);
  return found.sort((a, b) => order(a) - order(b));
}

async function jsonPart<S extends z.ZodType>(
  ctx: Context,
  base: Source,
  name: string,
  schema: S,
): Promise<z.output<S>> {
  return parsed(schema, await readAll(base.get(ctx, name)), `${base.point}/${base.component}/${name}`);
}
