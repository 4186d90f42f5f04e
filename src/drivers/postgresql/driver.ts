// PostgreSQL, 15 and newer.

import type { Component } from '../../core/component.ts';
import type { Driver } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import { inventoryFrom } from '../../core/inventory.ts';
import type { Context, Part, Selection, Source } from '../../core/model.ts';
import { renditionsByName } from '../../core/renditions.ts';
import { captureServer, liveLines } from './capture.ts';
import { clearServer, isHalfOf, isolationOf } from './clear.ts';
import { compareInventories } from './compare.ts';
import { connect } from './connection.ts';
import { chosenDatabases, connectSomewhere } from './databases.ts';
import { digestCosts } from './digest-cost.ts';
import { mark, marker, unmark } from './markers.ts';
import { GLOBALS_PART } from './names.ts';
import { directoryComponent } from './physical/directory.ts';
import { dropWitnesses } from './physical/earlier-backup.ts';
import { recogniseFile, renditionsOf } from './plain.ts';
import { probeServer } from './probe.ts';
import { fetchAhead } from './recovery/ahead.ts';
import { fetchLogFile } from './recovery/fetch.ts';
import { itemsOf, refuseFiles, restoreServer } from './restore.ts';
import { askedFor, measureNumber, mergeRows, readRows, readValues } from './rows.ts';
import { sandboxSpec } from './sandbox.ts';
import { directoryOf, retargeted, type Server, serverOf } from './settings.ts';
import { dropOldDatabases, stageServer } from './stage.ts';
import { followFindings } from './wal/findings.ts';
import { followServer, unfollowableBy } from './wal/follow.ts';
import { joinsLog } from './wal/joins.ts';
import { pushLogFile } from './wal/push.ts';
import { dropSlot } from './wal/slot.ts';
import { standingOf } from './wal/standing.ts';

export const postgresqlDriver = {
  kind: 'postgresql',
  open(settings): Component {
    const directory = directoryOf(settings);
    return directory ? directoryComponent(directory) : openServer(settings);
  },
  compare: compareInventories,
  retarget: retargeted,
  serverSpec: sandboxSpec,
  pushLog: pushLogFile,
  renditions: (ctx, source, version) => formsOf(ctx, { ...source, parts: () => ofDatabases(ctx, source) }, version),
  recognise: recogniseFile,
  fetchLog: fetchLogFile,
  fetchLogAhead: fetchAhead,
  isHalfOf,
} satisfies Driver;

/** With all abilities: a directory has few of them. */
export function openServer(settings: unknown): Database {
  return componentOf(serverOf(settings), null);
}

const formsOf = renditionsByName(renditionsOf);

/** Without the files of a data directory: they may be a million, and have no other form. */
async function* ofDatabases(ctx: Context, source: Source): AsyncIterable<Part> {
  for (const prefix of ['databases/', GLOBALS_PART]) yield* source.parts(ctx, prefix);
}

/** The server behind a component that we opened: `extract` reads rows in a sandbox of ours. */
const servers = new WeakMap<Component, Server>();

/** `names`: what the databases of the point are called on this server, where that is not the same. */
/** What lies outside our store, and what ages, are no matters of a database. */
type Database = Pick<Component, 'unfollowable'> &
  Required<
    Omit<
      Component,
      'unfollowable' | 'explore' | 'ageing' | 'cautions' | 'detach' | 'resume' | 'check' | 'release' | 'names' | 'holds'
    >
  >;

function componentOf(server: Server, names: ReadonlyMap<string, string> | null): Database {
  const unfollowable = unfollowableBy(server);
  const component: Database = {
    ...(unfollowable ? { unfollowable } : {}),
    probe: async (ctx) => await probeServer(ctx, server),
    follow: async (ctx, feed) => await followServer(ctx, server, feed),
    joins: async (ctx, point, journal) => await joinsLog(ctx, server, point, journal),
    standing: async (ctx) => await standingOf(ctx, server),
    unfollow: async (ctx) => {
      await using session = await connectSomewhere(ctx, server);
      return [...(await dropSlot(session, server)), ...(await dropWitnesses(session))];
    },
    kept: async (ctx, use) => await followFindings(ctx, server, use),
    capture: async (ctx, sink, previous) => await captureServer(ctx, server, sink, previous),
    restore: async (ctx, chain, options = {}) => await restoreServer(ctx, server, chain, options, names),
    suits: async (ctx, { base }) => await refuseFiles(ctx, base),
    inventory: async (ctx) => inventoryFrom(await liveLines(ctx, server, names)),
    mark: async (ctx, marked) => await mark(ctx, server, await namesThere(ctx, server, names), marked),
    marker: async (ctx) => await marker(ctx, server, await namesThere(ctx, server, names)),
    unmark: async (ctx) => await unmark(ctx, server, await namesThere(ctx, server, names)),
    measure: async (ctx, query, database) => {
      const chosen = database === undefined ? {} : { database };
      return await measureNumber(ctx, server, await theDatabase(ctx, server, names, chosen), query);
    },
    async *values(ctx, query, database) {
      const chosen = database === undefined ? {} : { database };
      yield* readValues(ctx, server, await theDatabase(ctx, server, names, chosen), query);
    },
    execute: async (ctx, statement, database) => {
      const chosen = database === undefined ? {} : { database };
      await using session = await connect(ctx, server, await theDatabase(ctx, server, names, chosen));
      await session.run('set search_path to default'); // as whoever wrote it knows it
      await session.run(statement);
    },
    costs: async (ctx) => (server.methods.includes('logical') ? await digestCosts(ctx, server) : []),
    stage: async (ctx, chain, id, options = {}) =>
      await stageServer(ctx, server, { chain, id, options, open: (staged) => componentOf(server, staged) }),
    clear: async (ctx, chain) => await clearServer(ctx, server, chain),
    isolation: async (ctx) => await isolationOf(ctx, server),
    dropOld: async (ctx) => await dropOldDatabases(ctx, server),
    async *extract(ctx, chain, selection, sandbox) {
      const asked = askedFor(selection);
      const box = await sandbox();
      const inside = servers.get(box);
      if (!inside) throw new Error('the sandbox is not one of PostgreSQL');
      const items = await itemsOf(ctx, server, chain.base, { select: selection }, null);
      const [item, ...others] = items;
      if (!item || others.length > 0) throw whichDatabase(items.map(({ database }) => database));
      const select = { database: item.database, tables: [asked.table] };
      // Under its own name, whatever the sandbox is set to hold.
      await restoreServer(ctx, { ...inside, databases: 'all' }, chain, { select });
      yield* readRows(ctx, inside, item.database, asked);
    },
    merge: async (ctx, rows, selection, mode) => {
      const database = await theDatabase(ctx, server, names, selection);
      return await mergeRows(ctx, server, database, { rows, asked: askedFor(selection), mode });
    },
  };
  servers.set(component, server);
  return component;
}

/** The one database that a question is about. */
async function theDatabase(
  ctx: Context,
  server: Server,
  names: ReadonlyMap<string, string> | null,
  { database }: Selection,
): Promise<string> {
  if (database !== undefined && (server.databases === 'all' || server.databases.includes(database))) {
    return names?.get(database) ?? database;
  }
  const there = await namesThere(ctx, server, names);
  const [only, ...others] = there;
  if (only === undefined || others.length > 0) throw whichDatabase(there);
  return only;
}

async function namesThere(
  ctx: Context,
  server: Server,
  names: ReadonlyMap<string, string> | null,
): Promise<readonly string[]> {
  if (names) return [...names.values()];
  if (server.databases !== 'all') return server.databases;
  await using control = await connectSomewhere(ctx, server);
  return await chosenDatabases(ctx, server, control);
}

function whichDatabase(there: readonly string[]): Failure {
  const names = there.length === 0 ? 'there is none' : `there are ${there.join(', ')}`;
  return new Failure('ambiguous', `which database is meant? ${names}`, {
    hint: 'name one: database= in a selection, database in a check',
  });
}
