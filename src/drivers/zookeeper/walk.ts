// Reads the tree in order, many znodes at a time, whatever its shape: a round trip is made for hundreds of them.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Client, refusal } from './client.ts';
import { type Content, compareKeys, type Entry, orderKey, WHOLE_BYTES_MAX, wholeContent } from './entries.ts';
import { counterOf, type Op, REFUSED, readAcl, readStat, request } from './protocol.ts';
import type { Reply } from './queue.ts';
import { isOwn, isPath, joined } from './settings.ts';

/** Fewer the deeper they lie, since those above wait in memory meanwhile. */
const TOGETHER = 1000;

export interface Reader {
  readonly client: Client;
  readonly root: string;
  /** Takes what a znode holds; the bytes are the reader's own. */
  take(content: NonNullable<Content>): Promise<Content>;
}
interface Found {
  readonly entry: Entry;
  /** How many, as its stat tells. */
  readonly children: number;
}
interface Place {
  readonly ctx: Context;
  readonly reader: Reader;
  readonly depth: number;
}

/** `path` and all below it, in order, some at a time. What vanishes meanwhile is left out. */
export async function* walk(ctx: Context, reader: Reader, path = '/'): AsyncGenerator<readonly Entry[]> {
  yield* together({ ctx, reader, depth: 1 }, [path]);
}

/** What lies at these paths, and below each behind it. */
async function* together(place: Place, paths: readonly string[]): AsyncGenerator<readonly Entry[]> {
  place.ctx.signal.throwIfAborted();
  const found = await Promise.all(paths.map((path) => readNode(place.reader, path)));
  let group: Found[] = [];
  let children = 0;
  for (const each of found) {
    if (each === null) continue;
    if (group.length > 0 && children + each.children > togetherAt(place.depth)) {
      yield* withBelow(place, group);
      group = [];
      children = 0;
    }
    group.push(each);
    children += each.children;
  }
  yield* withBelow(place, group);
}

function togetherAt(depth: number): number {
  return Math.ceil(TOGETHER / depth);
}

/** Each of the group, with what is below it behind it. All their children are read together. */
async function* withBelow(place: Place, group: readonly Found[]): AsyncGenerator<readonly Entry[]> {
  const keys = group.map(({ entry }) => orderKey(entry.path));
  let at = 0;
  for await (const below of belowOf(place, group)) {
    const batch: Entry[] = [];
    for (const entry of below) {
      const key = orderKey(entry.path);
      for (let above = group[at]; above && compareKeys(keys[at] ?? '', key) < 0; above = group[++at]) {
        batch.push(above.entry);
      }
      batch.push(entry);
    }
    yield batch;
  }
  if (at < group.length) yield group.slice(at).map(({ entry }) => entry);
}

async function* belowOf(place: Place, group: readonly Found[]): AsyncGenerator<readonly Entry[]> {
  const parents = group.filter(({ children }) => children > 0).map(({ entry }) => entry.path);
  const names = await Promise.all(parents.map((path) => namesIn(place.reader, path)));
  const deeper = { ...place, depth: place.depth + 1 };
  let some: string[] = [];
  for (const [i, parent] of parents.entries()) {
    for (const name of names[i] ?? []) {
      some.push(joined(parent, `/${name}`));
      if (some.length < togetherAt(deeper.depth)) continue;
      yield* together(deeper, some);
      some = [];
    }
  }
  if (some.length > 0) yield* together(deeper, some);
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
  if (stat.owner !== 0n) return { entry: { ...entry, type: 'ephemeral', content: null }, children: 0 };
  const content = data === null ? null : await taken(reader, data);
  return { entry: { ...entry, type: 'znode', content }, children: stat.children };
}

async function taken({ client, take }: Reader, data: Buffer): Promise<Content> {
  // A copy: what lies in one piece with a large answer would keep all of it.
  if (data.length <= WHOLE_BYTES_MAX) return await take(wholeContent(Buffer.from(data)));
  const release = client.hold(data.length);
  try {
    return await take(wholeContent(data));
  } finally {
    release();
  }
}

/** Newer servers tell nothing of a znode that may not be read, older ones how it stands. */
async function deniedNode({ client, root }: Reader, path: string): Promise<Found | null> {
  const full = joined(root, path);
  const reply = await client.ask('exists', request.read(full));
  if (reply.error === REFUSED.noNode) return null;
  const unknown = { path, content: null, acl: [], counter: 0, version: 0, aversion: 0, modifiedMs: 0 };
  if (reply.error === REFUSED.noAuth) return { entry: { ...unknown, type: 'denied' }, children: 0 };
  accept(client, 'exists', full, reply);
  const stat = readStat(reply.body);
  const { version, aversion, modifiedMs } = stat;
  const entry = { ...unknown, counter: counterOf(stat), version, aversion, modifiedMs };
  return { entry: { ...entry, type: stat.owner === 0n ? 'denied' : 'ephemeral' }, children: 0 };
}

/** In the order that their paths with a slash behind have. */
export async function namesIn({ client, root }: Pick<Reader, 'client' | 'root'>, path: string): Promise<string[]> {
  const full = joined(root, path);
  const reply = await client.ask('getChildren2', request.read(full));
  if (reply.error === REFUSED.noNode || reply.error === REFUSED.noAuth) return [];
  accept(client, 'getChildren2', full, reply);
  const names = reply.body.list(() => `${reply.body.text()}/`).sort();
  const found = names.map((name) => name.slice(0, -1));
  for (const [i, name] of found.entries()) {
    if (name !== found[i - 1] && !name.includes('/') && isPath(`/${name}`)) continue;
    throw new Failure('malformed', `${client.where} tells of a child of ${full} whose name is none`);
  }
  return full === '/' ? found.filter((name) => !isOwn(`/${name}`)) : found;
}

function accept(client: Client, op: Op, path: string, { error }: Reply): void {
  if (error !== 0) throw refusal(client.where, op, path, error);
}
