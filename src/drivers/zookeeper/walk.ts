// Reads the tree in order, many znodes at a time, whatever its shape: a round trip is made for a thousand of them.

import type { Context } from '../../core/model.ts';
import { type Client, refusal } from './client.ts';
import { type Content, compareKeys, type Entry, isWithin, orderKey, wholeContent } from './entries.ts';
import { counterOf, type Op, REFUSED, readAcl, readStat, request } from './protocol.ts';
import type { Reply } from './queue.ts';
import { joined } from './settings.ts';

const TOGETHER = 1000;
/** ZooKeeper's own, which nobody else may write. */
const OWN = 'zookeeper';

export interface Reader {
  readonly client: Client;
  readonly root: string;
  /** Takes what a znode holds; the bytes are the reader's own. */
  take(content: NonNullable<Content>): Promise<Content>;
}
interface Found {
  readonly entry: Entry;
  readonly hasChildren: boolean;
}
interface Parent {
  readonly entry: Entry;
  /** In order. */
  readonly children: readonly string[];
}

/** `path` and all below it, in order. What vanishes meanwhile is left out. */
export async function* walk(ctx: Context, reader: Reader, path = '/'): AsyncGenerator<Entry> {
  yield* together(ctx, reader, [path]);
}

/** What lies at these paths and below, in order; at most `TOGETHER` of them. */
async function* together(ctx: Context, reader: Reader, paths: readonly string[]): AsyncGenerator<Entry> {
  ctx.signal.throwIfAborted();
  const found = (await Promise.all(paths.map((path) => readFound(reader, path)))).filter((each) => each !== null);
  let group: Parent[] = [];
  let children = 0;
  for (const each of found) {
    if (group.length > 0 && children + each.children.length > TOGETHER) {
      yield* withBelow(ctx, reader, group);
      group = [];
      children = 0;
    }
    group.push(each);
    children += each.children.length;
  }
  yield* withBelow(ctx, reader, group);
}

/** Each of the group, with what is below it behind it. All their children are read together. */
async function* withBelow(ctx: Context, reader: Reader, group: readonly Parent[]): AsyncGenerator<Entry> {
  const children = group.flatMap((each) => each.children);
  const below = inTurns(ctx, reader, children);
  let next = children.length > 0 ? await below.next() : null;
  for (const { entry } of group) {
    yield entry;
    while (next && !next.done && isWithin(next.value.path, entry.path)) {
      yield next.value;
      next = await below.next();
    }
  }
}

async function* inTurns(ctx: Context, reader: Reader, paths: readonly string[]): AsyncGenerator<Entry> {
  for (let at = 0; at < paths.length; at += TOGETHER) yield* together(ctx, reader, paths.slice(at, at + TOGETHER));
}

async function readFound(reader: Reader, path: string): Promise<Parent | null> {
  const found = await readNode(reader, path);
  if (found === null) return null;
  return { entry: found.entry, children: found.hasChildren ? await childrenOf(reader, path) : [] };
}

/** Null when it is not there. */
export async function readNode(reader: Reader, path: string): Promise<Found | null> {
  const { client, root } = reader;
  const full = joined(root, path);
  const [got, rights] = await Promise.all([
    client.ask('getData', request.read(full)),
    client.ask('getAcl', request.path(full)),
  ]);
  if (got.error === REFUSED.noNode || rights.error === REFUSED.noNode) return null;
  if (got.error === REFUSED.noAuth || rights.error === REFUSED.noAuth) return await deniedNode(reader, path);
  accept(client, 'getData', full, got);
  accept(client, 'getAcl', full, rights);
  const data = got.body.bytes();
  const stat = readStat(got.body);
  const acl = readAcl(rights.body);
  // The ACL of another version than the data's stat tells: that is found when versions are looked at again.
  const common = { path, counter: counterOf(stat), version: stat.version, aversion: stat.aversion };
  const entry = { ...common, acl, modifiedMs: stat.modifiedMs };
  if (stat.owner !== 0n) return { entry: { ...entry, type: 'ephemeral', content: null }, hasChildren: false };
  const content = data === null ? null : await reader.take(wholeContent(data));
  return { entry: { ...entry, type: 'znode', content }, hasChildren: stat.children > 0 };
}

/** Newer servers tell nothing of a znode that may not be read, older ones how it stands. */
async function deniedNode({ client, root }: Reader, path: string): Promise<Found | null> {
  const full = joined(root, path);
  const reply = await client.ask('exists', request.read(full));
  if (reply.error === REFUSED.noNode) return null;
  const unknown = { path, content: null, acl: [], counter: 0, version: 0, aversion: 0, modifiedMs: 0 };
  if (reply.error === REFUSED.noAuth) return { entry: { ...unknown, type: 'denied' }, hasChildren: false };
  accept(client, 'exists', full, reply);
  const stat = readStat(reply.body);
  const { version, aversion, modifiedMs } = stat;
  const entry = { ...unknown, counter: counterOf(stat), version, aversion, modifiedMs };
  return { entry: { ...entry, type: stat.owner === 0n ? 'denied' : 'ephemeral' }, hasChildren: false };
}

async function childrenOf({ client, root }: Reader, path: string): Promise<string[]> {
  const full = joined(root, path);
  const reply = await client.ask('getChildren2', request.read(full));
  if (reply.error === REFUSED.noNode || reply.error === REFUSED.noAuth) return [];
  accept(client, 'getChildren2', full, reply);
  const names = reply.body.list(() => reply.body.text());
  return names
    .filter((name) => full !== '/' || name !== OWN)
    .map((name) => joined(path, `/${name}`))
    .sort((a, b) => compareKeys(orderKey(a), orderKey(b)));
}

function accept(client: Client, op: Op, path: string, { error }: Reply): void {
  if (error !== 0) throw refusal(client.where, op, path, error);
}

/** ZooKeeper's own subtree is neither read nor written. */
export function isOwn(path: string): boolean {
  return path === `/${OWN}` || path.startsWith(`/${OWN}/`);
}
