// The base backup of the newest earlier point, as what a server's changes are told from: it sends those alone, and what
// did not change is kept without being read.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { isFailure } from '../../../core/errors.ts';
import type { Context, Source } from '../../../core/model.ts';
import type { Session } from '../connection.ts';
import type { Server } from '../settings.ts';
import { type BackupFacts, factsIn } from './inventory.ts';
import { DATA_TREE, MANIFEST_FILE } from './names.ts';

/** The part that a server reads what it had sent from. */
export const MANIFEST_PART = DATA_TREE.parts + MANIFEST_FILE;
/** The first that tells changes from a manifest. */
const MAJOR_MIN = 17;
const WITNESS = 'lifeboat_since_';
/** Those of points that were never finished, or that nobody goes on from, are forgotten in time. */
const WITNESSES_MAX = 6;

export interface EarlierBackup {
  readonly source: Source;
  /** Of the server's pages. */
  readonly pageBytes: number;
}
export interface Earlier {
  /** Null where there is none, or the server can't tell what has changed since. */
  readonly backup: EarlierBackup | null;
  readonly warnings: readonly string[];
  /** Once the backup has ended. */
  witnessed(): Promise<Witnessed>;
}
/** What tells later that a server has lived through a backup: slots are in no backup, and nobody else has the name. */
export type Witnessed = Pick<BackupFacts, 'witness' | 'replaced'> & { readonly warnings: readonly string[] };

export async function earlierBackup(
  ctx: Context,
  { incremental }: Server,
  session: Session,
  source: Source | undefined,
): Promise<Earlier> {
  const none = { backup: null, warnings: [] };
  if (!incremental || session.major < MAJOR_MIN) return { ...none, witnessed: async () => NO_WITNESS };
  const { summaries, page } = await session.row(
    z.object({ summaries: z.string(), page: z.coerce.number() }),
    "select current_setting('summarize_wal') as summaries, current_setting('block_size') as page",
  );
  if (summaries !== 'on') return { ...none, witnessed: async () => NO_WITNESS };
  const facts = source ? await backupIn(ctx, source) : null;
  const witnessed = async (): Promise<Witnessed> => await witness(ctx, session, facts);
  if (!source || !facts?.witness) return { ...none, witnessed };
  if (await isThere(session, facts.witness)) return { backup: { source, pageBytes: page }, warnings: [], witnessed };
  const why = `the server is not the one that point ${source.point} was taken of, or was restored since, or its slots were dropped`;
  return { backup: null, warnings: [`all of it was read, not what changed alone: ${why}`], witnessed };
}

async function backupIn(ctx: Context, source: Source): Promise<BackupFacts | null> {
  try {
    await source.part(ctx, MANIFEST_PART);
    return await factsIn(ctx, source);
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    throw error;
  }
}

/**
 * A server that was restored goes on at the same numbers as before, and its own notes of what changed would fit a point
 * that it never was in.
 */
async function isThere(session: Session, name: string): Promise<boolean> {
  const rows = await session.rows(z.object({}), 'select from pg_replication_slots where slot_name = $1', [name]);
  return rows.length > 0;
}

const NO_WITNESS: Witnessed = { witness: null, replaced: null, warnings: [] };

/** It holds no log. That of the earlier point stays until this one is known to have been kept. */
async function witness(ctx: Context, session: Session, earlier: BackupFacts | null): Promise<Witnessed> {
  // In order of time, so that the oldest can be told.
  const name = `${WITNESS}${ctx.now().getTime().toString(36)}_${randomBytes(4).toString('hex')}`;
  try {
    await session.rows(z.object({}), 'select from pg_create_physical_replication_slot($1)', [name]);
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { ...NO_WITNESS, warnings: [`the next capture will read all of the server: ${error.message}`] };
  }
  const names = await witnessesOn(session);
  const old = names.filter((each, at) => each === earlier?.replaced || at < names.length - WITNESSES_MAX);
  for (const each of old) await forget(session, each);
  return { witness: name, replaced: earlier?.witness ?? null, warnings: [] };
}

/** All of them: the next capture reads everything. Names what it removed. */
export async function dropWitnesses(session: Session): Promise<readonly string[]> {
  const names = await witnessesOn(session);
  for (const each of names) await forget(session, each);
  return names.map((name) => `slot ${name}`);
}

/** Oldest first. */
async function witnessesOn(session: Session): Promise<readonly string[]> {
  const there = await session.rows(
    z.object({ slot: z.string() }),
    'select slot_name::text as slot from pg_replication_slots where starts_with(slot_name, $1) and not active order by 1',
    [WITNESS],
  );
  return there.map(({ slot }) => slot);
}

async function forget(session: Session, name: string): Promise<void> {
  await session.rows(z.object({}), 'select from pg_drop_replication_slot($1)', [name]);
}
