// What a target holds already.

import type { Context } from '../../core/model.ts';
import { type Client, refusal } from './client.ts';
import { compareKeys, type Entry, isWithin, orderKey } from './entries.ts';
import type { Job } from './job.ts';
import { targetOf } from './mapping.ts';
import { REFUSED, readStat, request } from './protocol.ts';
import { entriesOf } from './tree.ts';
import { isOwn, walk } from './walk.ts';
import { refusedWords } from './writer.ts';

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
    let extra: string | null = null; // the topmost of those that go together
    let going: string[] = [];
    for await (const { path, type } of livePaths(ctx, job, to)) {
      while (!next.done && compareKeys(orderKey(next.value), orderKey(path)) < 0) next = await wanted.next();
      const isWanted = !next.done && next.value === path;
      if (path === to || isOwn(path) || (isWanted && type !== 'ephemeral')) continue;
      if (extra === null || !isWithin(path, extra)) {
        if (type === 'ephemeral' && !isWanted) continue;
        await removeAll(job, going);
        extra = path;
        going = [];
      }
      going.push(path);
    }
    await removeAll(job, going);
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
  for await (const { path, type } of walk(ctx, reader)) {
    yield { path: path === '/' ? to : to === '/' ? path : to + path, type };
  }
}

async function removeAll({ writer }: Job, paths: readonly string[]): Promise<void> {
  for (const path of paths.toReversed()) {
    await writer.send('delete', request.delete(path), ({ error }) => {
      if (error === 0 || error === REFUSED.noNode) return;
      writer.miss(
        path,
        `it is not in the point and was not removed: ${refusedWords(writer.client(), 'delete', path, error)}`,
      );
    });
  }
}
