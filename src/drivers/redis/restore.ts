// A restore, in the best of three ways: as the target's master, by RESTORE per key, or by the commands that build
// the same values.

import type { Chain } from '../../core/component.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import { INVENTORY_PART, inventoryOf } from '../../core/inventory.ts';
import type { Context, InventoryLine, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { applyLog, fieldExpiryFailure, LATER_MS, settleExpiries } from './apply.ts';
import { RDB_PART, serverTime, tallyJob } from './capture.ts';
import { type Connection, connect, refusal } from './connection.ts';
import { logPosition, type RdbFacts, rdbFacts } from './facts.ts';
import { restoreAsMaster } from './promotion.ts';
import type { Result } from './rdb/job.ts';
import type { KeySelection } from './rdb/select.ts';
import { type Log, logUpTo } from './replay.ts';
import { isError, type Reply, refusedIn } from './resp.ts';
import { selectionOf } from './selection.ts';
import { canLoad, hasFieldExpiry, heldData, type ServerFacts, serverFacts } from './server.ts';
import type { Settings } from './settings.ts';
import { walkThrough } from './walker.ts';

export type Way = 'master' | 'restore-commands' | 'logical';

/** RESTORE takes a value as one argument, which is held in memory until it is sent. */
const PAYLOAD_BYTES_MAX = 64 * 1024 * 1024;

interface Work {
  readonly settings: Settings;
  readonly connection: Connection;
  readonly server: ServerFacts;
  readonly source: Source;
  readonly facts: RdbFacts;
  readonly select: KeySelection;
  /** Not only chosen databases or keys of it. */
  readonly whole: boolean;
  /** The target held data, and was named to be overwritten. */
  readonly replace: boolean;
  readonly bytes: number;
  /** What is done on top of it. */
  readonly log: Log | null;
  /** Hashes of it have fields that do. */
  readonly fieldsExpire: boolean;
}

/** `only` allows one way, for those who want to know that it works. */
export async function restore(
  ctx: Context,
  settings: Settings,
  { base: source, replay }: Chain,
  options: RestoreOptions = {},
  only?: Way,
): Promise<Restored> {
  const select = selectionOf(settings, options.select ?? {});
  await using connection = await connect(ctx, settings);
  const server = await serverFacts(connection);
  refuseUnfit(connection.where, server);
  const held = await heldData(connection, server, select.databases);
  if (held !== null && !options.replace) {
    throw new Failure('target-not-empty', `${connection.where} holds data: ${held}`, {
      hint: 'restore into an empty server, or in place: restore --in-place',
    });
  }
  const lines = await inventoryLines(ctx, settings, source);
  const facts = rdbFacts(lines);
  const log = replay ? logUpTo(ctx, replay, logPosition(lines)) : null;
  if (log) refusePartOfLog(select);
  const fieldsExpire = lines.some(({ name }) => name.includes(' with fields until '));
  const { bytes } = await source.part(ctx, RDB_PART);
  const { database, keys } = options.select ?? {};
  const whole = database === undefined && keys === undefined;
  const work = {
    settings,
    connection,
    server,
    source,
    facts,
    select,
    whole,
    replace: held !== null,
    bytes,
    log,
    fieldsExpire,
  };
  await refuseTooSmall(work);
  const ways = waysFor(work).filter((way) => only === undefined || way === only);
  const warnings: string[] = [];
  for (const way of ways) {
    if (way !== 'master') {
      warnings.push(...(await restoreByCommands(ctx, work, way)));
      return { bytes, method: way, warnings, ...reached(log) };
    }
    const refused = await restoreAsMaster(ctx, { ...work, log: log?.bytes ?? null, empty: held === null });
    if (refused === null) return { bytes, method: way, warnings, ...reached(log) };
    if (way === ways.at(-1)) throw refused;
    warnings.push(`not restored as its master, key by key instead: ${refused.message}`);
  }
  throw new Failure('version-mismatch', `${connection.where} (${server.version}) can't be restored by ${only}`);
}

function reached(log: Log | null): Pick<Restored, 'reached'> {
  const cut = log?.reached();
  return cut ? { reached: cut } : {};
}

/** A command may move keys from one database to another, or drop them all. */
function refusePartOfLog({ databases, patterns }: KeySelection): void {
  if (databases === null && patterns === null) return;
  throw new Failure('usage', 'only a whole Redis is brought to a moment: its log is one for all databases and keys', {
    hint: 'restore all of it into another server, and take from there what is wanted',
  });
}

/** What each pair of versions and each selection allows, best first. */
function waysFor({ settings, server, facts, select }: Work): Way[] {
  const ways: Way[] = [];
  const loads = canLoad(server.version, facts);
  // A replica that we are the master of would get the data in the clear.
  const whole = select.databases === null && select.patterns === null;
  if (loads && whole && settings.tls === false) ways.push('master');
  if (loads && facts.largest_bytes <= PAYLOAD_BYTES_MAX) ways.push('restore-commands');
  if (facts.modules.length === 0 || !ways.includes('restore-commands')) ways.push('logical');
  return ways;
}

function refuseUnfit(where: string, { mode, masterAt }: ServerFacts): void {
  if (mode === 'cluster' || mode === 'sentinel') {
    throw new Failure('denied', `${where} runs as a ${mode}: restoring into one is not supported`, {
      hint: 'restore into a single server',
    });
  }
  if (masterAt === null) return;
  throw new Failure('denied', `${where} is a replica of ${masterAt} and takes its data from there`, {
    hint: 'restore into its master; if a restore was interrupted here, first send it REPLICAOF NO ONE',
  });
}

/** What would not fit is refused before anything is changed: a server that can't load its master's copy may end. */
async function refuseTooSmall({ connection, server, facts, select, settings }: Work): Promise<void> {
  const whole = select.patterns === null && select.databases === null;
  if (whole && server.maxBytes > 0 && facts.used_bytes > server.maxBytes) {
    const sizes = `the data took ${facts.used_bytes} bytes where it was captured, maxmemory is ${server.maxBytes}`;
    throw new Failure('no-space', `${connection.where} is too small: ${sizes}`, { hint: 'raise maxmemory' });
  }
  const last = Math.max(-1, ...(select.databases ?? [facts.databases - 1]));
  if (last < 1) return;
  if (isError(await connection.ask('SELECT', last))) {
    throw new Failure('denied', `${connection.where} has no database ${last}, which the point has`, {
      hint: `set databases ${last + 1} in its configuration and start it again`,
    });
  }
  await connection.call('SELECT', settings.database);
}

/** The inventory of the point. An RDB that was imported has none: it is walked, which checks it too. */
async function inventoryLines(ctx: Context, settings: Settings, source: Source): Promise<readonly InventoryLine[]> {
  try {
    await source.part(ctx, INVENTORY_PART);
  } catch (error) {
    if (!isFailure(error, 'missing')) throw error;
    return (await walkThrough(ctx, source.get(ctx, RDB_PART), tallyJob({ ...settings, inventory: 'counts' }))).lines;
  }
  return await Array.fromAsync(inventoryOf(source).lines(ctx));
}

/** Loads by commands over one connection, many on their way at a time. */
async function restoreByCommands(ctx: Context, work: Work, way: Exclude<Way, 'master'>): Promise<string[]> {
  const { settings, source, select, replace, server, log } = work;
  if (log && work.fieldsExpire) throw fieldExpiryFailure();
  await using load = await connect(ctx, { ...settings, database: 0 });
  if (replace && select.patterns === null) await discard(load, select.databases);
  let refused: Failure | null = null;
  const onReply = (reply: Reply): void => {
    const said = refusedIn(reply);
    if (said !== null) refused ??= refusal({ where: load.where, username: settings.username }, 'a value', said);
  };
  const options = {
    way: way === 'logical' ? ('logical' as const) : ('restore' as const),
    select,
    replace: replace && select.patterns !== null,
    fieldExpiry: hasFieldExpiry(server.version),
    whole: work.whole,
    now: await serverTime(ctx, load),
    laterMs: log ? LATER_MS : 0,
  };
  try {
    const body = source.get(ctx, RDB_PART);
    const result = await walkThrough(ctx, body, { kind: 'commands', options }, async ({ commands }) => {
      if (refused) throw refused;
      if (commands) await load.send(commands.bytes, commands.count, onReply);
    });
    await load.call('PING'); // its answer comes after all others
    if (refused) throw refused;
    const passed = log ? await replayByCommands(ctx, load, work, result) : result.expired;
    const skipped = [...result.modules].map(
      ([module, count]) => `${count} values of module ${module} were not restored`,
    );
    for (const module of result.ownData) skipped.push(`what module ${module} keeps beside the keys was not restored`);
    if (result.fieldExpiries > 0)
      skipped.push(`${result.fieldExpiries} hash fields no longer expire: the target can't do that`);
    if (passed > 0) skipped.push(`${passed} keys were left out: their time has come meanwhile`);
    if (result.keys === 0 && skipped.length === 0 && select.patterns) skipped.push('no key matches the selection');
    return skipped;
  } catch (error) {
    if (!replace) await cleanUp(ctx, work, error);
    throw error;
  }
}

/** To how many keys passed away meanwhile. */
async function replayByCommands(
  ctx: Context,
  load: Connection,
  { settings, log }: Work,
  { aux }: Result,
): Promise<number> {
  const database = Number(aux['repl-stream-db'] ?? 0);
  if (log) await applyLog(ctx, load, log.bytes, { database, username: settings.username });
  return await settleExpiries(ctx, load);
}

/** Half of the data looks like all of it: what was empty is left empty. */
async function cleanUp(ctx: Context, { settings, select }: Work, because: unknown): Promise<void> {
  try {
    const alive = { ...ctx, signal: new AbortController().signal };
    await using connection = await connect(alive, { ...settings, database: 0 });
    await discard(connection, select.databases);
  } catch (cause) {
    const code = because instanceof Failure ? because.code : 'unreachable';
    throw new Failure(code, `${messageOf(because)}; what was written before is still there (${messageOf(cause)})`, {
      cause: because,
      hint: 'empty the target with FLUSHALL before the next try',
    });
  }
}

/** Every key, and the functions when it is all of the server. */
export async function discard(connection: Connection, databases: readonly number[] | null): Promise<void> {
  if (databases === null) {
    await connection.call('FLUSHALL');
    await connection.ask('FUNCTION', 'FLUSH');
    return;
  }
  for (const database of databases) {
    await connection.call('SELECT', database);
    await connection.call('FLUSHDB');
  }
  await connection.call('SELECT', 0);
}
