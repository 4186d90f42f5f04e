// Markers: the key lifeboat:marker, in the first of the databases that the settings name.

import { Failure, isFailure } from '../../core/errors.ts';
import {
  type FoundMarker,
  type Marker,
  markerText,
  newestOf,
  notOurs,
  readMarker,
  standsBy,
} from '../../core/marker.ts';
import type { Context } from '../../core/model.ts';
import { type Connection, connect, refusal } from './connection.ts';
import { isError, textOf } from './resp.ts';
import { type ServerFacts, serverFacts } from './server.ts';
import type { Settings } from './settings.ts';

const KEY = 'lifeboat:marker';

export async function mark(ctx: Context, settings: Settings, marked: Marker): Promise<void> {
  await using connection = await connect(ctx, settings);
  await needMaster(connection);
  const database = settings.databases?.[0] ?? settings.database;
  await markerIn(connection, settings, database);
  await told(connection, settings, 'SET', KEY, markerText(marked));
}

export async function marker(ctx: Context, settings: Settings): Promise<FoundMarker | null> {
  await using connection = await connect(ctx, settings);
  const found: FoundMarker[] = [];
  for (const database of databasesOf(await serverFacts(connection), settings)) {
    found.push(...(await markerIn(connection, settings, database)));
  }
  return newestOf(found);
}

export async function unmark(ctx: Context, settings: Settings): Promise<readonly string[]> {
  await using connection = await connect(ctx, settings);
  const removed: string[] = [];
  for (const database of databasesOf(await serverFacts(connection), settings)) {
    const [there] = await markerIn(connection, settings, database);
    if (!there) continue;
    await needMaster(connection);
    await told(connection, settings, 'DEL', KEY);
    removed.push(there.where);
  }
  return removed;
}

/** Those with keys, as far as they are ours. */
function databasesOf({ keys }: ServerFacts, { databases }: Settings): readonly number[] {
  return [...keys.keys()].filter((database) => databases === null || databases.includes(database));
}

/** The connection is in that database afterwards. */
async function markerIn(connection: Connection, settings: Settings, database: number): Promise<readonly FoundMarker[]> {
  const where = `key ${KEY} of db${database}`;
  await told(connection, settings, 'SELECT', String(database));
  const reply = await connection.ask('GET', KEY);
  if (isError(reply) && reply.error.startsWith('WRONGTYPE')) throw notOurs(where);
  if (isError(reply)) throw hinted(connection, settings, 'GET', reply.error);
  return reply === null ? [] : [readMarker(textOf(reply), where)];
}

async function needMaster(connection: Connection): Promise<void> {
  if ((await serverFacts(connection)).masterAt !== null) throw standsBy(connection.where);
}

async function told(connection: Connection, settings: Settings, ...command: readonly string[]): Promise<void> {
  const reply = await connection.ask(...command);
  if (isError(reply)) throw hinted(connection, settings, command[0] ?? '', reply.error);
}

function hinted(connection: Connection, { username = 'default' }: Settings, command: string, said: string): Failure {
  const failure = refusal({ where: connection.where, username }, command, said);
  if (!isFailure(failure, 'privileges')) return failure;
  const hint = `for markers: ACL SETUSER ${username} +get +set +del +select +info ~${KEY}`;
  return new Failure('privileges', failure.message, { cause: failure, hint });
}
