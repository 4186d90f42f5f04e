// In place: restored beside the live databases, compared, and then swapped in by name. The old ones stay.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Chain, Component, Staged } from '../../core/component.ts';
import { Failure } from '../../core/errors.ts';
import { idOf } from '../../core/manifest.ts';
import type { Context, RestoreOptions } from '../../core/model.ts';
import type { Session } from './connection.ts';
import { connectAside } from './databases.ts';
import { quoted } from './names.ts';
import { dropDatabase, itemsOf, restoreServer, unlessInUse } from './restore.ts';
import type { Server } from './settings.ts';

const NAME_BYTES_MAX = 63;
const STAGED = '__lifeboat_';
const KEPT = '__lifeboat_old_';
const TERMINATE_EVERY_MS = 50;

export async function stageServer(
  ctx: Context,
  server: Server,
  {
    chain,
    id,
    options,
    open,
  }: {
    chain: Chain;
    id: string;
    options: RestoreOptions;
    /** A component on the same server whose databases have these names. */
    open: (names: ReadonlyMap<string, string>) => Component;
  },
): Promise<Staged> {
  const items = await itemsOf(ctx, server, chain.base, options, null);
  const targets = new Map(items.map(({ database, target }) => [database, target]));
  const names = new Map([...targets].map(([database, target]) => [database, besideName(target, STAGED, id)]));
  const inOne = { ...server, databases: [...targets.keys()] };
  await using control = await connectAside(ctx, server, new Set(targets.values()));
  await assertMaySwap(control, server, targets.values());
  for (const name of names.values()) await dropIfThere(control, name); // of an attempt that was broken off
  const clear = async (): Promise<void> => {
    await using session = await connectAside({ ...ctx, signal: new AbortController().signal }, server, new Set());
    for (const name of names.values()) await dropIfThere(session, name);
  };
  try {
    await restoreServer(ctx, inOne, chain, options, names);
  } catch (error) {
    await clear();
    throw error;
  }
  let published = false;
  return {
    component: open(names),
    publish: async (within, { terminateConnections }) => {
      const swaps = [...targets].map(([database, live]) => ({ staged: names.get(database) ?? '', live }));
      const keptAs = await publish(within, server, swaps, terminateConnections);
      published = true;
      return { keptAs };
    },
    [Symbol.asyncDispose]: async () => {
      if (!published) await clear();
    },
  };
}

/** Before hours of work: who may rename the live databases, and make new ones beside them. */
async function assertMaySwap(control: Session, server: Server, lives: Iterable<string>): Promise<void> {
  const { may, others } = await control.row(
    z.object({ may: z.boolean(), others: z.array(z.string()) }),
    `select (select rolcreatedb or rolsuper from pg_roles where rolname = current_user) as may,
      array(select datname::text from pg_database where datname = any ($1::text[]) and not pg_has_role(datdba, 'USAGE'))
        as others`,
    [[...lives]],
  );
  const refuse = (why: string, hint: string): Failure =>
    new Failure('privileges', `postgresql at ${server.host}:${server.port}: ${server.user} ${why}`, { hint });
  const orElse = 'or restore as another role, or into another database';
  if (!may) {
    const why = 'may not create databases, and in place the point is restored into a new one beside the live one';
    throw refuse(why, `alter role ${quoted(server.user)} createdb, ${orElse}`);
  }
  if (others.length > 0) throw refuse(`does not own ${others.join(', ')}`, `alter database … owner to it, ${orElse}`);
}

interface Swap {
  readonly staged: string;
  readonly live: string;
}

/** All of them or none, in one transaction: whenever the power goes, each name has one whole database. */
async function publish(ctx: Context, server: Server, swaps: readonly Swap[], terminate: boolean): Promise<string[]> {
  ctx.signal.throwIfAborted();
  // Once begun it is ended, one way or the other.
  const steady = { ...ctx, signal: new AbortController().signal };
  const lives = new Set(swaps.map(({ live }) => live));
  await using control = await connectAside(steady, server, lives);
  await using helper = await connectAside(steady, server, lives);
  const kept: string[] = [];
  const id = await freeId(control, [...lives], steady.now());
  await control.run('begin');
  for (const { staged, live } of swaps) {
    if (await isThere(control, live)) {
      const old = besideName(live, KEPT, id);
      await unlessInUse(helper, live, terminate, () => setAside(steady, { control, helper }, { live, old, terminate }));
      kept.push(old);
    }
    await rename(control, staged, live);
  }
  await control.run('commit');
  return kept;
}

/** Of the time of the swap, or the next second that is free: what an earlier swap has kept stays. */
async function freeId(control: Session, lives: readonly string[], now: Date): Promise<string> {
  for (let at = now.getTime(); ; at += 1000) {
    const id = idOf(new Date(at));
    const there = await Promise.all(lives.map((live) => isThere(control, besideName(live, KEPT, id))));
    if (!there.includes(true)) return id;
  }
}

/** It is closed: what is written into it from now on would be lost. */
async function setAside(
  ctx: Context,
  { control, helper }: { control: Session; helper: Session },
  { live, old, terminate }: { live: string; old: string; terminate: boolean },
): Promise<void> {
  let waiting = true;
  const renamed = rename(control, live, old).finally(() => {
    waiting = false;
  });
  renamed.catch(() => undefined); // told below, unless something else fails first
  // The rename locks new sessions out and waits a few seconds for the old ones to go.
  while (terminate && waiting) {
    // Autovacuum gives way by itself. Replicas and background workers do not.
    const ended =
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and backend_type <> 'autovacuum worker'";
    await helper.rows(z.unknown(), ended, [live]);
    await Promise.race([renamed, ctx.sleep(TERMINATE_EVERY_MS)]).catch(() => undefined); // as above; a stop ends no swap
  }
  await renamed;
  await control.run(`alter database ${quoted(old)} allow_connections false`);
}

/** Old databases that in-place restores kept. Only names of exactly our form, of databases that are ours to protect. */
export async function dropOldDatabases(ctx: Context, server: Server): Promise<string[]> {
  await using control = await connectAside(ctx, server, new Set());
  const rows = await control.rows(
    z.object({ name: z.string(), closed: z.boolean() }),
    'select datname as name, not datallowconn as closed from pg_database',
  );
  const wanted = server.databases;
  // Without a live one this is the only copy.
  const lives = rows.map(({ name }) => name).filter((name) => wanted === 'all' || wanted.includes(name));
  const names = rows.filter(({ name, closed }) => closed && isKept(name, lives)).map(({ name }) => name);
  for (const name of names) await dropDatabase(control, name, false);
  return names;
}

function isKept(name: string, lives: readonly string[]): boolean {
  const [, id] = /__lifeboat_old_(\d{4}-\d{2}-\d{2}-\d{6})$/.exec(name) ?? [];
  return id !== undefined && lives.some((live) => besideName(live, KEPT, id) === name);
}

/** A name that is too long is cut, with its hash, so that two long ones stay two. */
function besideName(database: string, infix: string, id: string): string {
  const end = `${infix}${id}`;
  const room = NAME_BYTES_MAX - Buffer.byteLength(end);
  if (Buffer.byteLength(database) <= room) return database + end;
  const hash = createHash('sha256').update(database).digest('hex').slice(0, 8);
  let stem = database;
  while (Buffer.byteLength(stem) > room - hash.length) stem = [...stem].slice(0, -1).join('');
  return stem + hash + end;
}

async function isThere(control: Session, name: string): Promise<boolean> {
  const found = await control.rows(z.unknown(), 'select 1 from pg_database where datname = $1', [name]);
  return found.length > 0;
}
async function rename(control: Session, from: string, to: string): Promise<void> {
  await control.run(`alter database ${quoted(from)} rename to ${quoted(to)}`);
}
async function dropIfThere(control: Session, name: string): Promise<void> {
  if (await isThere(control, name)) await dropDatabase(control, name, true);
}
