// Looks around in the past: a base backup is restored, and a server on it goes through the log up to a moment and
// stands there, taking no writes. PostgreSQL can't be given another target while it runs, and a target that was reached
// and is left ends the recovery: so going further ends the server, and starts it with the new one.

import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readAll } from '../../../core/bytes.ts';
import type { Answer, Chain, Exploring, Replay, Stand } from '../../../core/component.ts';
import { outliving } from '../../../core/context.ts';
import { Failure, isFailure, messageOf } from '../../../core/errors.ts';
import type { Context, Restored, RestoreOptions, Source } from '../../../core/model.ts';
import { onFreePort } from '../../../core/ports.ts';
import type { Running } from '../../../core/process.ts';
import { close, type Dir, openRoot, within } from '../../beneath.ts';
import { sqlState } from '../connection.ts';
import { chosenDatabases, connectSomewhere, namesOnServer } from '../databases.ts';
import { DATA_TREE, LABEL_FILE } from '../physical/names.ts';
import { putDirectory, replaceFile } from '../physical/put-file.ts';
import { restoredTo } from '../physical/restore.ts';
import { ownerFor } from '../physical/target.ts';
import { findProgram } from '../programs.ts';
import { type Aim, AT_ONCE, type Extent, type StandingAim, standingAimOf, timelineBefore } from '../recovery/aim.ts';
import { fillSpool, type HandOver, handOver } from '../recovery/hand-over.ts';
import { SIGNAL } from '../recovery/names.ts';
import type { Recovery } from '../recovery/recovery.ts';
import { leftScript } from '../recovery/scripts.ts';
import { changeRecovery } from '../recovery/setup.ts';
import { readFirst } from '../rows.ts';
import { type DirectorySettings, type Server, serverOf } from '../settings.ts';
import { lsnAt, placeOfLsn } from '../wal/positions.ts';
import { controlOf, isMore, type Place } from './control.ts';
import { accessLines, leftLines } from './lines.ts';
import { OWN, OWN_FILES, promoteServer, type State, startServer, stateOf, untilStanding } from './server.ts';

const OPTIONS_FILE = 'postmaster.opts';
const VERSION_BYTES_MAX = 16;
/** Of the name of a socket, with what the system wants at its end. */
const SOCKET_BYTES_MAX = 107;
const SOCKET_NAME = '/.s.PGSQL.65535';
const LEAVE_MS_MAX = 180_000;
/** Whoever holds a lock at a moment that is past does not give it back. */
const LOCK_WAIT = '2s';
const ANEW = 'restore once more, into another directory';

/** What there is of one exploration. */
interface Here {
  readonly settings: DirectorySettings;
  readonly place: Place;
  readonly root: Dir;
  readonly base: Extent;
  readonly task: string;
  /** For who goes on when all this has ended. */
  readonly command: Replay['command'];
  recovery: Recovery;
  handing: Pick<HandOver, 'stop'>;
  served: { readonly running: Running; readonly server: Server } | null;
  port: number | undefined;
  stands: State | null;
  lastChange: string | null;
  databases: readonly string[];
  left: readonly string[] | null;
}

export async function exploreDirectory(
  ctx: Context,
  settings: DirectorySettings,
  { base, replay }: Chain & { readonly replay: Replay },
  options: RestoreOptions = {},
): Promise<Exploring> {
  const place = await placeFor(ctx, settings, base);
  const { command, ...handed } = replay; // this process hands the log over as long as it lives
  const { restored, recovery } = await restoredTo(ctx, settings, { base, replay: handed }, options);
  if (!recovery) throw new Error('a replay was asked for, and nothing is recovered');
  const here: Here = {
    settings,
    place,
    root: openRoot(settings.path),
    base: recovery.base,
    task: base.component,
    command,
    recovery,
    handing: { stop: async () => await restored.settle?.(ctx) },
    served: null,
    port: undefined,
    stands: null,
    lastChange: restored.reached?.at ?? null,
    databases: [],
    left: null,
  };
  try {
    putDirectory(here.root, OWN, place.owner);
    for (const [name, text] of Object.entries(OWN_FILES)) replaceFile(here.root, `${OWN}/${name}`, text, place.owner);
    const aim = await standingAimOf(ctx, handed, here.base);
    if (!isSame(aim, recovery.aim)) await change(ctx, here, { ...recovery, aim });
    const notes = await begin(ctx, here);
    return exploringOf(here, { ...restored, warnings: [...restored.warnings, ...notes] });
  } catch (error) {
    const left = await leave(outliving(ctx, LEAVE_MS_MAX), here);
    if (!isFailure(error) || error.hint !== undefined) throw error;
    throw new Failure(error.code, error.message, { cause: error, hint: left.join('; ') });
  }
}

function exploringOf(here: Here, { settle: _, ...restored }: Restored): Exploring {
  return {
    restored,
    access: () => (here.served ? accessLines(here.place, here.served.server, here.databases[0]) : []),
    stand: async (ctx) => {
      here.stands = await stateOf(ctx, serverOfHere(here));
      return standOf(here, []);
    },
    query: async (ctx, text, database) => await query(ctx, here, text, database),
    advance: async (ctx, replay) => await advance(ctx, here, replay),
    promote: async (ctx) => await promote(ctx, here),
    leave: async (ctx) => await leave(ctx, here),
  };
}

/** What can be told before anything is touched. */
async function placeFor(ctx: Context, { path, binDir }: DirectorySettings, base: Source): Promise<Place> {
  if (Buffer.byteLength(join(path, OWN)) + SOCKET_NAME.length > SOCKET_BYTES_MAX) {
    throw new Failure('usage', `${path} is too long a name: a socket of the server lies below it`, {
      hint: `name a directory of up to ${SOCKET_BYTES_MAX - SOCKET_NAME.length - OWN.length - 1} bytes`,
    });
  }
  const version = await readAll(base.get(ctx, `${DATA_TREE.parts}PG_VERSION`), VERSION_BYTES_MAX);
  const major = Number.parseInt(version.toString('utf8'), 10);
  const postgres = await findProgram(ctx, { name: 'postgres', major, orNewer: false, binDir });
  const owner = ownerFor(path);
  if (owner || process.geteuid?.() !== 0) return { path, owner, postgres };
  throw new Failure('denied', `a server on ${path} would run as root, which it refuses`, {
    hint: `make it first, and give it to whom servers run as: install -d -m 700 -o postgres ${path}`,
  });
}

/** Starts it. What only the server can find in the log may not be there: then it stands at the end of that. */
async function begin(ctx: Context, here: Here): Promise<readonly string[]> {
  try {
    await serve(ctx, here);
  } catch (error) {
    if (!messageOf(error).includes('recovery ended before configured recovery target was reached')) throw error;
    const { system, replay: before, base } = here.recovery;
    const replay: Replay = { ...before, target: { kind: 'latest' } };
    await change(ctx, here, { replay, aim: await standingAimOf(ctx, replay, base), base, system });
    await serve(ctx, here);
    const { target } = before;
    const what = 'value' in target ? `${target.kind} ${target.value}` : target.kind;
    return [`${what} is not in what is stored: it stands at the end of that`];
  }
  if (here.stands?.recovers === false) {
    return ['it could let nobody in before it was there, so it has ended its recovery: it goes no further'];
  }
  return [];
}

/** Where who wrote the log was given more meanwhile, once more with that. */
async function serve(ctx: Context, here: Here): Promise<void> {
  const { place } = here;
  for (;;) {
    const { needs } = await controlOf(ctx, place);
    let failed: { readonly error: unknown } | undefined;
    try {
      await onFreePort(async (port) => {
        const server = serverAt(here, port);
        const running = startServer(ctx, place, port, needs);
        here.served = { running, server };
        const forget = (): void => void (here.served = here.served?.running === running ? null : here.served);
        running.ended().then(forget, forget); // also where somebody else has ended it
        here.port = port;
        here.stands = await untilStanding(ctx, server, running);
        here.databases = await databasesOf(ctx, server);
      }, here.port);
    } catch (error) {
      failed = { error };
    }
    if (ctx.signal.aborted || !isMore((await controlOf(ctx, place)).needs, needs)) {
      if (failed) throw failed.error;
      // The server does not count the one that it stops behind.
      here.lastChange = here.recovery.aim.reached?.at ?? here.stands?.lastChange ?? here.lastChange;
      return;
    }
    await end(here);
  }
}

function serverAt({ settings, place }: Here, port: number): Server {
  const { user, databases } = settings;
  const host = join(place.path, OWN);
  return serverOf({ host, port, user, databases, bin_dir: place.postgres.dir, lock_timeout: LOCK_WAIT });
}

async function databasesOf(ctx: Context, server: Server): Promise<readonly string[]> {
  await using session = await connectSomewhere(ctx, server);
  if (server.databases === 'all') return await chosenDatabases(ctx, server, session);
  const there = await namesOnServer(session);
  return server.databases.filter((name) => there.includes(name)); // one may not have been made yet
}

async function end(here: Here): Promise<void> {
  const { served } = here;
  here.served = null;
  await served?.running.stop('SIGINT');
}

/** No server runs. What it asks for from now on is handed over from where it begins anew. */
async function change(ctx: Context, here: Here, recovery: Recovery): Promise<void> {
  const { place, root, task } = here;
  const { owner } = place;
  await end(here);
  await here.handing.stop();
  await changeRecovery({ root, owner }, recovery);
  const { replay, aim } = recovery;
  here.recovery = recovery;
  here.handing = handOver(ctx, { replay, aim, base: await resumedAt(ctx, here), root, owner, task });
}

/** A server that has begun before goes on from its last checkpoint. */
async function resumedAt(ctx: Context, { base, place }: Here): Promise<Extent> {
  if (existsSync(join(place.path, LABEL_FILE))) return base;
  const { redo } = await controlOf(ctx, place);
  return { ...base, from: redo, to: redo };
}

async function advance(ctx: Context, here: Here, replay: Replay): Promise<Stand> {
  const { base, system, aim: before } = here.recovery;
  if (here.served) here.stands = await stateOf(ctx, here.served.server);
  const { stands } = here;
  if (stands?.recovers === false) {
    throw new Failure('usage', 'it has ended its recovery, and goes no further in the log', {
      hint: `for that ${ANEW}`,
    });
  }
  const { command: _, ...handed } = replay;
  const aim = await standingAimOf(ctx, handed, base);
  if (stands) await refuseOtherWay(ctx, here, { replay: handed, aim, place: stands.place });
  if (here.served && stands && (isThere(aim, stands.place) || isSame(aim, before))) {
    return standOf(here, ['there is nothing in the log between where it stands and that', ...aim.notes]);
  }
  await change(ctx, here, { replay: handed, aim, base, system });
  const notes = await begin(ctx, here);
  return standOf(here, [...aim.notes, ...notes]);
}

/** What lies behind where it stands is of no transaction that has ended. */
function isThere({ endsAt, sameTo }: StandingAim, place: number): boolean {
  return endsAt !== null && sameTo !== null && endsAt <= place && place <= sameTo;
}

function isSame(aim: Aim, before: Aim): boolean {
  return aim.setting.name === before.setting.name && aim.setting.value === before.setting.value;
}

interface Way {
  readonly replay: Replay;
  readonly aim: StandingAim;
  /** Where it stands. */
  readonly place: number;
}

async function refuseOtherWay(ctx: Context, here: Here, { replay, aim, place }: Way): Promise<void> {
  const stands = lsnAt(place);
  const [now, next] = await Promise.all(
    [here.recovery.replay, replay].map((each) => timelineBefore(ctx, each, place, here.base)),
  );
  if (now !== next) {
    const what = `the log that has that is of timeline ${next} at ${stands} already, where the server is on ${now}`;
    throw new Failure('missing', what, { hint: `for a moment on that timeline ${ANEW}` });
  }
  if (aim.sameTo !== null && aim.sameTo < place) {
    const what = `that is at ${lsnAt(aim.sameTo)} in the log, and the server stands at ${stands}: it never goes back`;
    throw new Failure('missing', what, { hint: `for an earlier moment ${ANEW}` });
  }
}

async function promote(ctx: Context, here: Here): Promise<Stand> {
  const server = serverOfHere(here);
  if ((await stateOf(ctx, server)).recovers) await promoteServer(ctx, here.place);
  await here.handing.stop();
  here.stands = await stateOf(ctx, server);
  return standOf(here, []);
}

async function query(ctx: Context, here: Here, text: string, database: string | undefined): Promise<Answer> {
  const server = serverOfHere(here);
  const [only, ...others] = here.databases;
  const chosen = database ?? (others.length === 0 ? only : undefined);
  if (chosen !== undefined) return await readFirst(ctx, server, chosen, text).catch(explained);
  const names = only === undefined ? 'there is none' : `there are ${here.databases.join(', ')}`;
  throw new Failure('ambiguous', `which database is meant? ${names}`, { hint: 'name one' });
}

function explained(error: unknown): never {
  if (isFailure(error, 'query-failed') && error.hint === undefined && sqlState(error) === SYNTAX_ERROR) {
    throw new Failure('query-failed', error.message, { cause: error, hint: READS });
  }
  if (!isFailure(error, 'blocked')) throw error;
  throw new Failure('blocked', error.message, {
    cause: error,
    hint: 'a transaction that had not ended at that moment had locked it: a promotion rolls that back; or go on to its end',
  });
}

/** All that is not one query is one to a cursor, and so is what is mistyped. */
const SYNTAX_ERROR = '42601';
const READS = 'one query that reads is asked here: select, with, values or table; all else by psql, which status tells';

function serverOfHere({ served, settings }: Here): Server {
  if (served) return served.server;
  throw new Failure('unreachable', `no server runs on ${settings.path}`, {
    hint: 'go on to a later moment, or leave it',
  });
}

function standOf({ stands, lastChange }: Here, notes: readonly string[]): Stand {
  const writes = stands?.timeline == null ? null : `timeline ${stands.timeline}`;
  return { position: lsnAt(stands?.place ?? 0), lastChange, writes, notes };
}

/** Whatever goes wrong, no server stays, and what it was does. */
async function leave(ctx: Context, here: Here): Promise<readonly string[]> {
  if (here.left) return here.left;
  const { place, root } = here;
  await end(here);
  await here.handing.stop();
  const recovers = existsSync(join(place.path, SIGNAL));
  here.left = leftLines(place, recovers);
  if (recovers) {
    await leaveRecovery(ctx, here).catch((error: unknown) =>
      ctx.log.warn('what the server needs to go on by hand is not all there', { reason: messageOf(error) }),
    );
  }
  // Of how it was started, which no restart is to repeat.
  for (const name of [OWN, OPTIONS_FILE]) rmSync(within(root, Buffer.from(name)), { recursive: true, force: true });
  close(root);
  return here.left;
}

/** As a restore leaves it, but that the server goes on from where it was ended. */
async function leaveRecovery(ctx: Context, here: Here): Promise<void> {
  const { place, root, recovery, task, command = [] } = here;
  const { aim, replay } = recovery;
  const { checkpoint } = await controlOf(ctx, place);
  // A record that it begins behind is met no more; it is whole there, and nothing of the log comes then.
  const isBehind = aim.setting.name === 'recovery_target_lsn' && (placeOfLsn(aim.setting.value) ?? 0) <= checkpoint;
  const setting = isBehind ? AT_ONCE : aim.setting;
  await changeRecovery(
    { root, owner: place.owner },
    { ...recovery, aim: { ...aim, setting }, script: leftScript(command) },
  );
  await fillSpool(ctx, { replay, aim, base: await resumedAt(ctx, here), root, owner: place.owner, task });
}
