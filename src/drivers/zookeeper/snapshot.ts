// The tree as it was after one change (a zxid). ZooKeeper gives no snapshot to its clients: the tree is read under a
// watch of all of it, and what changed meanwhile is read again until nothing did.

import { Failure } from '../../core/errors.ts';
import { shapedLine } from '../../core/inventory.ts';
import type { Context } from '../../core/model.ts';
import { type Client, connect, refusal } from './client.ts';
import { compareKeys, type Entry, entryLine, lineFrom, orderKey, parentOf } from './entries.ts';
import { REFUSED, readStat, request } from './protocol.ts';
import { joined, type Settings } from './settings.ts';
import { openSpool, type Spool } from './spool.ts';
import { type Reader, readNode, walk } from './walk.ts';

/** Rounds of reading what changed; each takes about as long as a round trip when little did. */
const ROUNDS_MAX = 200;
/** More than this is no capture of anything. */
const CHANGED_MAX = 200_000;
const NAMED_MAX = 5;
const TOGETHER = 1000;

export interface Snapshot extends AsyncDisposable {
  readonly client: Client;
  readonly zxid: bigint;
  readonly warnings: readonly string[];
  /** In order. Can be read again. */
  entries(): AsyncIterable<Entry>;
}

interface Work {
  readonly reader: Reader;
  /** Read before a change that was told since. */
  readonly changed: Set<string>;
  /** What was read again; null: it is gone. */
  readonly again: Map<string, Entry | null>;
}

export async function snapshot(ctx: Context, settings: Settings, take: Reader['take']): Promise<Snapshot> {
  await using undo = new AsyncDisposableStack();
  const client = undo.use(await connect(ctx, settings));
  const spool = undo.use(await openSpool(ctx));
  const { root } = settings;
  const work: Work = { reader: { client, root, take }, changed: new Set(), again: new Map() };
  await watchAll(client, root, work.changed);
  const begun = await zxidNow(client, root);
  let items = 0;
  for await (const entry of walk(ctx, work.reader)) {
    await spool.add(entryLine(entry));
    if (++items % TOGETHER === 0) ctx.progress({ task: 'zookeeper', phase: 'capture', items });
  }
  let { zxid, unsettled } = await settle(ctx, work);
  if (zxid !== begun) {
    // No watch tells of a changed ACL.
    await lookAgain(ctx, spool, work);
    ({ zxid, unsettled } = await settle(ctx, work));
  }
  const owned = undo.move();
  return {
    client,
    zxid,
    warnings: unsettled.length === 0 ? [] : [unsettledWarning(unsettled)],
    entries: () => merged(spool, work.again),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function watchAll(client: Client, root: string, changed: Set<string>): Promise<void> {
  const below = root === '/' ? 0 : root.length;
  const add = (path: string): void => void changed.add(path.slice(below) || '/');
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

async function zxidNow(client: Client, root: string): Promise<bigint> {
  return (await client.ask('exists', request.read(root))).zxid;
}

/**
 * Reads again what changed. A server tells a change before it gives any later answer: when an answer comes and nothing
 * was told since, all that was read is as it was at that answer's zxid.
 */
async function settle(ctx: Context, work: Work): Promise<{ zxid: bigint; unsettled: readonly string[] }> {
  const { reader, changed, again } = work;
  for (let round = 1; ; round++) {
    ctx.signal.throwIfAborted();
    const paths = [...changed];
    changed.clear();
    if (again.size + paths.length > CHANGED_MAX) {
      throw new Failure('blocked', `more than ${CHANGED_MAX} znodes changed while the tree was read`, {
        hint: 'capture it at a quieter time, or a subtree of it (root)',
      });
    }
    for (let at = 0; at < paths.length; at += TOGETHER) {
      const some = paths.slice(at, at + TOGETHER);
      const found = await Promise.all(some.map((path) => readNode(reader, path)));
      for (const [i, path] of some.entries()) again.set(path, found[i]?.entry ?? null);
    }
    const zxid = paths.length > 0 ? reader.client.zxid() : await zxidNow(reader.client, reader.root);
    if (changed.size === 0 || round === ROUNDS_MAX) return { zxid, unsettled: [...changed] };
  }
}

/** Marks what has another ACL than was read, or other data: the latter would be the server's error. */
async function lookAgain(ctx: Context, spool: Spool, { reader, changed, again }: Work): Promise<void> {
  for await (const entries of entryBatches(spool)) {
    ctx.signal.throwIfAborted();
    const some = entries.filter(({ path }) => !again.has(path));
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

/** The spooled entries, with those that were read again in their places. */
async function* merged(spool: Spool, again: ReadonlyMap<string, Entry | null>): AsyncIterable<Entry> {
  const later = [...again].sort(([a], [b]) => compareKeys(orderKey(a), orderKey(b)));
  let at = 0;
  for await (const entries of entryBatches(spool)) {
    for (const entry of entries) {
      for (let next = later[at]; next && orderKey(next[0]) < orderKey(entry.path); next = later[++at]) {
        if (next[1]) yield next[1];
      }
      const same = later[at]?.[0] === entry.path ? later[at++] : undefined;
      const now = same ? same[1] : entry;
      if (now) yield now;
    }
  }
  for (const [, entry] of later.slice(at)) if (entry) yield entry;
}

async function* entryBatches(spool: Spool): AsyncIterable<Entry[]> {
  for await (const lines of spool.lines()) yield lines.map((line) => shapedLine(line, entryOf, 'what was read'));
}

function entryOf(value: unknown): Entry | null {
  const line = lineFrom(value);
  return line && 'entry' in line ? line.entry : null;
}

function unsettledWarning(paths: readonly string[]): string {
  const more = paths.length > NAMED_MAX ? ` and ${paths.length - NAMED_MAX} more` : '';
  const named = paths.slice(0, NAMED_MAX).join(', ');
  return `${named}${more} changed faster than they could be read: these are of a moment just before the cut`;
}
