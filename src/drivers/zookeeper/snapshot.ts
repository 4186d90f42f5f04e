// The tree as it was after one change (a zxid). ZooKeeper gives no snapshot to its clients: the tree is read under a
// watch of all of it, and what changed meanwhile is read again until nothing did.

import { lineBatchesOf } from '../../core/bytes.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Place, type Spool, spool } from '../../core/spool.ts';
import { type Client, connect, refusal } from './client.ts';
import { compareKeys, orderKey, parentOf } from './entries.ts';
import { identityOf } from './facts.ts';
import { REFUSED, readStat, request } from './protocol.ts';
import { type Kept, keptFrom, keptText } from './records.ts';
import { joined, type Settings } from './settings.ts';
import { type Reader, readNode, walk } from './walk.ts';

/** Rounds of reading what changed; each takes about as long as a round trip when little did. */
const ROUNDS_MAX = 200;
/** More than this is no capture of anything. */
const CHANGED_MAX = 200_000;
const NAMED_MAX = 5;
const TOGETHER = 500;
/** An ensemble that chooses another leader sends its clients away, and takes them again within seconds. */
const ATTEMPTS_MAX = 3;
const PAUSES_MAX = 10;
const PAUSE_MS = 1000;

export interface Snapshot extends AsyncDisposable {
  /** Of the ensemble, and the root in it. */
  readonly identity: string;
  readonly zxid: bigint;
  readonly warnings: readonly string[];
  /** In order, as many as came together. Can be read again. */
  znodes(): AsyncIterable<readonly Kept[]>;
}

interface Work {
  readonly reader: Reader;
  readonly later: Spool;
  /** Read before a change that was told since. */
  readonly changed: Set<string>;
  /** Where what was read again lies; null: it is gone. */
  readonly again: Map<string, Place | null>;
}

export async function snapshot(ctx: Context, settings: Settings, take: Reader['take']): Promise<Snapshot> {
  for (let attempt = 1; ; attempt++) {
    const client = await connect(ctx, settings);
    try {
      return await snapshotBy(ctx, client, settings, take);
    } catch (error) {
      const isLost = client.isBroken() && isAway(error); // else it is the store that is unreachable
      await client[Symbol.asyncDispose]();
      if (ctx.signal.aborted || attempt === ATTEMPTS_MAX || !isLost) throw error;
      ctx.log.info('the tree is read from its beginning once more', { why: messageOf(error) });
      await untilItAnswers(ctx, settings);
    }
  }
}

/** The next attempt says why it does not. */
async function untilItAnswers(ctx: Context, settings: Settings): Promise<void> {
  for (let pause = 1; pause <= PAUSES_MAX; pause++) {
    try {
      await using _client = await connect(ctx, settings);
      return;
    } catch (error) {
      if (!isAway(error)) throw error;
      await ctx.sleep(PAUSE_MS);
    }
  }
}

function isAway(error: unknown): boolean {
  return isFailure(error, 'unreachable') || isFailure(error, 'timeout');
}

async function snapshotBy(ctx: Context, client: Client, settings: Settings, take: Reader['take']): Promise<Snapshot> {
  await using undo = new AsyncDisposableStack();
  const kept = undo.use(spool(ctx.scratch, 'the tree'));
  const later = undo.use(spool(ctx.scratch, 'the tree'));
  const { root } = settings;
  const identity = await identityOf(client, settings);
  const work: Work = { reader: { client, root, take }, later, changed: new Set(), again: new Map() };
  await watchAll(client, root, work.changed);
  await client.call('sync', root, request.path(root));
  const begun = await zxidNow(client, root);
  let items = 0;
  for await (const entries of walk(ctx, work.reader)) {
    refuseTooMany(work);
    for (const entry of entries) await kept.add(keptText(entry));
    items += entries.length;
    ctx.progress({ task: 'zookeeper', phase: 'capture', items });
  }
  let { zxid, unsettled } = await settle(ctx, work);
  if (zxid !== begun) {
    // No watch tells of a changed ACL.
    await lookAgain(ctx, kept, work);
    ({ zxid, unsettled } = await settle(ctx, work));
  }
  undo.use(client);
  const owned = undo.move();
  return {
    identity,
    zxid,
    warnings: unsettled.length === 0 ? [] : [unsettledWarning(unsettled)],
    znodes: () => merged(kept, work),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function watchAll(client: Client, root: string, changed: Set<string>): Promise<void> {
  const below = root === '/' ? 0 : root.length;
  const add = (path: string): void => {
    if (changed.size <= CHANGED_MAX) changed.add(path.slice(below) || '/');
  };
  const error = await client.watch(root, (path, kind) => {
    add(path);
    // Its parent counts its children.
    if (kind === 'made or gone' && path !== root) add(parentOf(path));
  });
  if (error === REFUSED.unimplemented) {
    throw new Failure(
      'version-mismatch',
      `${client.where} is older than 3.6: it can't tell what changes while it is read`,
      {
        hint: 'capture a ZooKeeper of version 3.6 or newer',
      },
    );
  }
  if (error !== 0) throw refusal(client.where, 'addWatch', root, error);
}

function refuseTooMany({ changed, again }: Work): void {
  if (again.size + changed.size <= CHANGED_MAX) return;
  throw new Failure('blocked', `more than ${CHANGED_MAX} znodes changed while the tree was read`, {
    hint: 'capture it at a quieter time, or a subtree of it (root)',
  });
}

async function zxidNow(client: Client, root: string): Promise<bigint> {
  return (await client.ask('exists', request.read(root))).zxid;
}

/**
 * Reads again what changed. A server tells a change before it gives any later answer: when an answer comes and nothing
 * was told since, all that was read is as it was at that answer's zxid.
 */
async function settle(ctx: Context, work: Work): Promise<{ zxid: bigint; unsettled: readonly string[] }> {
  const { reader, changed } = work;
  for (let round = 1; ; round++) {
    ctx.signal.throwIfAborted();
    refuseTooMany(work);
    const paths = [...changed];
    changed.clear();
    for (let at = 0; at < paths.length; at += TOGETHER) await readAgain(work, paths.slice(at, at + TOGETHER));
    const zxid = paths.length > 0 ? reader.client.zxid() : await zxidNow(reader.client, reader.root);
    if (changed.size === 0 || round === ROUNDS_MAX) return { zxid, unsettled: [...changed] };
  }
}

async function readAgain({ reader, later, again }: Work, paths: readonly string[]): Promise<void> {
  const found = await Promise.all(paths.map((path) => readNode(reader, path)));
  for (const [i, path] of paths.entries()) {
    const entry = found[i]?.entry;
    again.set(path, entry ? await later.add(keptText(entry)) : null);
  }
}

/** Marks what has another ACL than was read, or other data: the latter would be the server's error. */
async function lookAgain(ctx: Context, kept: Spool, { reader, changed, again }: Work): Promise<void> {
  for await (const znodes of keptBatches(kept)) {
    ctx.signal.throwIfAborted();
    const some = znodes.filter(({ path }) => !again.has(path));
    const replies = await Promise.all(
      some.map(({ path }) => reader.client.ask('exists', request.read(joined(reader.root, path)))),
    );
    for (const [i, { path, version, aversion }] of some.entries()) {
      const reply = replies[i];
      if (reply?.error !== 0) continue; // gone, as the watch tells
      const stat = readStat(reply.body);
      if (stat.aversion !== aversion || stat.version !== version) changed.add(path);
    }
  }
}

/** What was read first, with what was read again in its place. */
async function* merged(kept: Spool, { later: reread, again }: Work): AsyncIterable<readonly Kept[]> {
  const later = [...again].sort(([a], [b]) => compareKeys(orderKey(a), orderKey(b)));
  if (later.length === 0) return yield* keptBatches(kept);
  const fresh = async (place: Place | null): Promise<Kept[]> =>
    place === null ? [] : (await Array.fromAsync(keptBatches(reread, place))).flat();
  let at = 0;
  for await (const znodes of keptBatches(kept)) {
    const batch: Kept[] = [];
    for (const znode of znodes) {
      const key = orderKey(znode.path);
      for (let next = later[at]; next && orderKey(next[0]) < key; next = later[++at]) {
        batch.push(...(await fresh(next[1])));
      }
      const same = later[at]?.[0] === znode.path ? later[at++] : undefined;
      batch.push(...(same ? await fresh(same[1]) : [znode]));
    }
    yield batch;
  }
  for (const [, place] of later.slice(at)) yield await fresh(place);
}

async function* keptBatches(kept: Spool, place?: Place): AsyncIterable<readonly Kept[]> {
  for await (const lines of lineBatchesOf(kept.body(place))) yield lines.map(keptFrom);
}

function unsettledWarning(paths: readonly string[]): string {
  const more = paths.length > NAMED_MAX ? ` and ${paths.length - NAMED_MAX} more` : '';
  const named = paths.slice(0, NAMED_MAX).join(', ');
  return `${named}${more} changed faster than they could be read: these are of a moment just before the cut`;
}
