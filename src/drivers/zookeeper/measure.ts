// Checks of the user's: how many children a znode has, the number that it holds, which children there are.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Client, connect, refusal } from './client.ts';
import { REFUSED, readStat, request } from './protocol.ts';
import { isPath, joined, type Settings } from './settings.ts';
import { namesIn } from './walk.ts';

/** 'children /brokers/ids', 'data /config/limit'; paths are those below the root of the component. */
export async function measure(ctx: Context, settings: Settings, query: string): Promise<number> {
  const [, what, path = ''] = /^\s*(children|data)\s+(\/.*?)\s*$/.exec(query) ?? [];
  if (what === undefined || !isPath(path)) {
    throw new Failure('usage', `${query} is no check of zookeeper`, {
      hint: "for example 'children /brokers/ids' or 'data /config/limit'",
    });
  }
  await using client = await connect(ctx, settings);
  const full = joined(settings.root, path);
  const { body } = await client.call('getData', full, request.read(full));
  const data = body.bytes()?.toString('utf8') ?? '';
  if (what === 'children') return readStat(body).children;
  const number = data.trim() === '' ? Number.NaN : Number(data);
  if (!Number.isNaN(number)) return number;
  throw new Failure('denied', `${client.where}: ${full} does not hold a number`);
}

/** The children of a znode, for references: 'to: { component: coordination, in: /shop/shards }'. */
export async function* names(ctx: Context, settings: Settings, space: string): AsyncIterable<string> {
  const root = spaceOf(settings, space);
  await using client = await connect(ctx, settings);
  await client.call('exists', root, request.read(root));
  yield* await namesIn({ client, root }, '/');
}

export async function holds(
  ctx: Context,
  settings: Settings,
  space: string,
  asked: readonly string[],
): Promise<readonly boolean[]> {
  const root = spaceOf(settings, space);
  await using client = await connect(ctx, settings);
  await client.call('exists', root, request.read(root));
  return await Promise.all(asked.map((name) => isChild(client, root, name)));
}

async function isChild(client: Client, root: string, name: string): Promise<boolean> {
  if (name === '' || name.includes('/') || !isPath(`/${name}`)) return false;
  const path = joined(root, `/${name}`);
  const { error } = await client.ask('exists', request.read(path));
  if (error !== 0 && error !== REFUSED.noNode) throw refusal(client.where, 'exists', path, error);
  return error === 0;
}

function spaceOf(settings: Settings, space: string): string {
  if (isPath(space)) return joined(settings.root, space);
  throw new Failure('usage', `${space} is no path of a znode`, { hint: 'for example in: /shop/shards' });
}
