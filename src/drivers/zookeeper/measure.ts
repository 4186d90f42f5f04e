// Checks of the user's: how many children a znode has, or the number that it holds.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { connect } from './client.ts';
import { readStat, request } from './protocol.ts';
import { isPath, joined, type Settings } from './settings.ts';

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
