// What is known of a lineage besides its ranges: how it began, how far it reached, and what was pruned.

import { z } from 'zod';
import { Failure, isFailure } from '../core/errors.ts';
import type { Lineage } from '../core/journal.ts';
import type { Context, Cut, Json } from '../core/model.ts';
import { type JournalVault, lineageFolder, lineageIds } from './journal-names.ts';
import { cutSchema, type Whose } from './journal-ranges.ts';

const BEGIN = 'begin.json';
const TIP = 'tip.json';
const PRUNED = 'pruned.json';

/** Sorts after every position. */
export const ALL = '~';

const whoseSchema = z.object({ format: z.literal(1), component: z.string(), lineage: z.string() });
const beginSchema = whoseSchema.extend({
  from: cutSchema,
  base: z.string().nullable(),
  why: z.string(),
  source: z.custom<Json>().default(null), // whatever JSON the driver wrote
  parent: z.object({ lineage: z.string(), position: z.string() }).nullable(),
  detail: z.custom<Json>().optional(), // the driver's, too
  begun_at: z.iso.datetime({ offset: true }),
  chain: z.hex().length(64),
});
const markSchema = whoseSchema.extend({ to: cutSchema, sha256: z.hex().length(64) });
const prunedSchema = markSchema.extend({ whole: z.boolean() });

/** An end: up to where, and the SHA-256 of the range that reaches it. */
export interface Mark {
  readonly to: Cut;
  readonly sha256: string;
}
export interface Known {
  readonly lineage: Lineage;
  /** What the first range follows. */
  readonly chain: string;
  /** It reaches at least so far. */
  readonly tip: Mark | null;
  /** What ends there or before is not needed any more. */
  readonly pruned: Mark | null;
  /** Of documents that can't be read: what they say is not known. */
  readonly problems: readonly Failure[];
}

/** Null when it was pruned as a whole. 'missing', 'checksum' or 'malformed' when nobody can tell how it began. */
export async function loadLineage(ctx: Context, vault: JournalVault, whose: Whose): Promise<Known | null> {
  const problems: Failure[] = [];
  async function find<S extends typeof markSchema>(name: string, schema: S): Promise<z.output<S> | null> {
    try {
      return await get(ctx, vault, whose, name, schema);
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (error.code !== 'missing') problems.push(error);
      return null;
    }
  }
  const pruned = await find(PRUNED, prunedSchema);
  if (pruned?.whole) return null;
  const begin = await get(ctx, vault, whose, BEGIN, beginSchema).catch(async (error: unknown) => {
    if ((await prunedUpTo(ctx, vault, whose)) === ALL) return null; // a moment ago
    throw error;
  });
  if (!begin) return null;
  const { from, base, why, source, parent, detail, chain } = begin;
  const more = detail === undefined ? {} : { detail };
  const lineage = { id: whose.lineage, from, base, why, source, parent, ...more, begunAt: begin.begun_at };
  return { lineage, chain, tip: await find(TIP, markSchema), pruned, problems };
}

/** Those that can be read; the others are logged. */
export async function* readableLineages(ctx: Context, vault: JournalVault, component: string): AsyncIterable<Known> {
  for (const lineage of await lineageIds(ctx, vault, component)) {
    try {
      const known = await loadLineage(ctx, vault, { component, lineage });
      if (known) yield known;
    } catch (error) {
      if (!isDamage(error)) throw error;
      ctx.log.warn('a lineage of a journal can not be read', { component, lineage, reason: error.message });
    }
  }
}

/** Up to where it is pruned by now: '' nothing of it is, `ALL` as a whole. */
export async function prunedUpTo(ctx: Context, vault: JournalVault, whose: Whose): Promise<string> {
  try {
    const { whole, to } = await get(ctx, vault, whose, PRUNED, prunedSchema);
    return whole ? ALL : to.position;
  } catch (error) {
    if (isDamage(error)) return '';
    throw error;
  }
}

/** Where a lineage without ranges ends. */
export function floorOf({ lineage, chain, pruned }: Known): Mark {
  return pruned ?? { to: lineage.from, sha256: chain };
}

/** 'exists' where the bucket can tell that somebody else was quicker. */
export async function putBegin(
  ctx: Context,
  vault: JournalVault,
  component: string,
  { id, from, base, why, source, parent, detail, begunAt }: Lineage,
  chain: string,
): Promise<void> {
  const more = detail === undefined ? {} : { detail };
  const goesOn = parent && { ...parent };
  const said = { from: { ...from }, base, why, source, parent: goesOn, ...more, begun_at: begunAt, chain };
  const whose = { component, lineage: id };
  await vault.putDocument(ctx, keyOf(vault, whose, BEGIN), { format: 1, ...whose, ...said }, { ifAbsent: true });
}
export async function putTip(ctx: Context, vault: JournalVault, whose: Whose, { to, sha256 }: Mark): Promise<void> {
  await vault.putDocument(ctx, keyOf(vault, whose, TIP), { format: 1, ...whose, to: { ...to }, sha256 });
}
/** `whole`: nothing of it is needed any more, not even how it began. */
export async function putPruned(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  { to, sha256 }: Mark,
  whole: boolean,
): Promise<void> {
  await vault.putDocument(ctx, keyOf(vault, whose, PRUNED), { format: 1, ...whose, to: { ...to }, sha256, whole });
}
/** Of what describes a lineage; what says that it was pruned goes apart from these, and after them. */
export function describingKeys(vault: JournalVault, whose: Whose): readonly string[] {
  return [TIP, BEGIN].map((name) => keyOf(vault, whose, name));
}
export function prunedKey(vault: JournalVault, whose: Whose): string {
  return keyOf(vault, whose, PRUNED);
}

export function isDamage(error: unknown): error is Failure {
  return isFailure(error, 'checksum') || isFailure(error, 'missing') || isFailure(error, 'malformed');
}

async function get<S extends typeof whoseSchema>(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  name: string,
  schema: S,
): Promise<z.output<S>> {
  const key = keyOf(vault, whose, name);
  const { data, error: cause } = schema.safeParse(await vault.getDocument(ctx, key));
  if (!data) throw new Failure('malformed', `${vault.bucket.url}: ${key} is not what it should be`, { cause });
  if (data.component === whose.component && data.lineage === whose.lineage) return data;
  throw new Failure('checksum', `${vault.bucket.url}: ${key} is of lineage ${data.lineage} of ${data.component}`);
}

function keyOf(vault: JournalVault, { component, lineage }: Whose, name: string): string {
  return lineageFolder(vault, component, lineage) + name;
}
