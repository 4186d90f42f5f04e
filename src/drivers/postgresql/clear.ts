// For staging services: emptied after a drill, and asked whether what is written there stays there.

import { z } from 'zod';
import type { Chain } from '../../core/component.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context, Finding, InventoryLine } from '../../core/model.ts';
import type { Session } from './connection.ts';
import { connectAside, connectSomewhere, namesOnServer } from './databases.ts';
import { dropDatabase, itemsOf } from './restore.ts';
import type { Server } from './settings.ts';

/**
 * Drops the databases of the point, whoever is connected: the next restore makes them again as they have to be. Roles
 * stay, since nobody can tell whose else they are.
 */
export async function clearServer(ctx: Context, server: Server, { base }: Chain): Promise<string[]> {
  const targets = (await itemsOf(ctx, server, base, {}, null)).map(({ target }) => target);
  await using control = await connectAside(ctx, server, new Set(targets));
  const names = await namesOnServer(control);
  const there = targets.filter((name) => names.includes(name));
  const may = 'select rolcreatedb or rolsuper as may from pg_roles where rolname = current_user';
  if (!(await control.row(z.object({ may: z.boolean() }), may)).may) {
    return there.map((name) => `database ${name} stays: this role could not make it again (CREATEDB)`);
  }
  const left: string[] = [];
  for (const target of there) {
    try {
      await dropDatabase(control, target, true);
    } catch (error) {
      if (!isFailure(error) || ctx.signal.aborted) throw error;
      left.push(`database ${target}: ${error.message}`);
    }
  }
  return left;
}

/** The rows of a table come with one commit, after it was made; constraints, rights and settings come later. */
export function isHalfOf(expected: InventoryLine, { kind, count }: InventoryLine): boolean {
  if (kind === 'table') return (count ?? 0) === 0;
  if (kind === 'database' || kind === 'large-objects') return (count ?? 0) <= (expected.count ?? 0);
  return kind === 'definition' || kind === 'ownership' || kind === 'role';
}

const standbysSchema = z.object({ standbys: z.coerce.number(), slots: z.coerce.number(), archive: z.string() });

/** What gets the WAL of this server gets what is restored into it. */
export async function isolationOf(ctx: Context, server: Server): Promise<readonly Finding[]> {
  await using control = await connectSomewhere(ctx, server);
  const { standbys, slots, archive } = await control.row(
    standbysSchema,
    `select (select count(*) from pg_stat_replication) as standbys,
      (select count(*) from pg_replication_slots) as slots, current_setting('archive_mode') as archive`,
  );
  return [
    isNone('no WAL is archived', archive === 'off', `archive_mode is ${archive}`),
    isNone('nothing replicates from it', standbys + slots === 0, `${standbys} standbys and ${slots} slots`),
    await subscriptions(control),
  ];
}

async function subscriptions(control: Session): Promise<Finding> {
  const schema = z.object({ working: z.coerce.number() });
  const { working } = await control.row(schema, 'select count(pid) as working from pg_stat_subscription');
  return isNone('it subscribes to nothing', working === 0, `${working} subscriptions at work`);
}

function isNone(check: string, none: boolean, detail: string): Finding {
  return { check, verdict: none ? 'pass' : 'unknown', detail };
}
