// What a target holds already.

import type { Context } from '../../core/model.ts';
import { type Client, refusal } from './client.ts';
import { compareKeys, type Entry, isWithin, orderKey } from './entries.ts';
import type { Job } from './job.ts';
import { targetOf } from './mapping.ts';
import { REFUSED, readStat, request } from './protocol.ts';
import { isOwn, joined } from './settings.ts';
import { entriesOf } from './tree.ts';
import { walk } from './walk.ts';
import { refusedWords, type Writer } from './writer.ts';

/** Null when a restore to this path would overwrite nothing. */
export async function heldBelow(client: Client, path: string): Promise<string | null> {
  const reply = await client.ask('exists', request.read(path));
  if (reply.error === REFUSED.noNode) return null;
  if (reply.error !== 0) throw refusal(client.where, 'exists', path, reply.error);
  const { children, dataLength } = readStat(reply.body);
  const ours = children - (path === '/' ? 1 : 0);
  if (ours > 0) return `${ours} znodes in ${path}`;
  return dataLength > 0 ? `${dataLength} bytes in ${path}` : null;
}

/** Removes what the point has not, the deepest first; ephemerals in what stays are left to their sessions. */
export async function removeExtras(ctx: Context, job: Job): Promise<void> {
  for (const { to } of job.mapping.moves) {
    const wanted = pathsOf(ctx, job, to);
    let next = await wanted.next();
    const going = leavingWith((path) => removeOne(job.writer, path));
    for await (const { path, type } of livePaths(ctx, job, to)) {
      while (!next.done && compareKeys(orderKey(next.value), orderKey(path)) < 0) next = await wanted.next();
      await going.before(path);
      const isWanted = !next.done && next.value === path;
      if (path === to || isOwn(path) || (isWanted && type !== 'ephemeral')) continue;
      if (going.isEmpty() && type === 'ephemeral' && !isWanted) continue;
      going.add(path);
    }
    await going.all();
    await wanted.return(undefined);
  }
  await job.writer.settled();
}

async function* pathsOf(ctx: Context, { source, mapping }: Job, to: string): AsyncGenerator<string> {
  for await (const { path, type } of entriesOf(ctx, source)) {
    const target = type === 'ephemeral' ? null : targetOf(mapping, path);
    if (target !== null && isWithin(target, to)) yield target;
  }
}

async function* livePaths(ctx: Context, { writer }: Job, to: string): AsyncGenerator<Pick<Entry, 'path' | 'type'>> {
  const reader = { client: writer.client(), root: to, take: async () => null };
  for await (const entries of walk(ctx, reader)) {
    for (const { path, type } of entries) yield { path: joined(to, path), type };
  }
}

export interface Leaving {
  /** Lies in the one before, if there is one. */
  add(path: string): void;
  /** Those go that this path does not lie in: all below them has been told of. */
  before(path: string): Promise<void>;
  all(): Promise<void>;
  isEmpty(): boolean;
}

/** What is to be removed, told in the order of the tree; the deepest goes first. */
export function leavingWith(remove: (path: string) => Promise<void>): Leaving {
  const going: string[] = [];
  async function leave(isOver: (path: string) => boolean): Promise<void> {
    for (let path = going.at(-1); path !== undefined && isOver(path); path = going.at(-1)) {
      going.pop();
      await remove(path);
    }
  }
  return {
    add: (path) => void going.push(path),
    before: (path) => leave((each) => !isWithin(path, each)),
    all: () => leave(() => true),
    isEmpty: () => going.length === 0,
  };
}

async function removeOne(writer: Writer, path: string): Promise<void> {
  await writer.send('delete', request.delete(path), ({ error }) => {
    if (error === 0 || error === REFUSED.noNode) return;
    const why = refusedWords(writer.client(), 'delete', path, error);
    writer.miss(path, `it is not in the point and was not removed: ${why}`);
  });
}
