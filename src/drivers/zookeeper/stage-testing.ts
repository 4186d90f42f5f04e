// Where tests of odd servers and znodes begin.

import { after } from 'node:test';
import { startZookeeper, type Zookeeper } from '../../../test/servers/zookeeper.ts';
import { readAll } from '../../core/bytes.ts';
import type { Context, InventoryReader, Source } from '../../core/model.ts';
import { memoryParts } from '../../core/testing.ts';
import type { Client } from './client.ts';
import { zookeeperDriver } from './driver.ts';
import { make } from './testing.ts';

let shared: Promise<Zookeeper> | undefined;
after(async () => await (await shared)?.[Symbol.asyncDispose]());

/** One for all tests of a file. */
export async function server(): Promise<Zookeeper> {
  shared ??= startZookeeper({ superPassword: 'secret', tls: true, conf: ['enforceQuota=true'] });
  return await shared;
}
export const user = { username: 'super', password: 'secret' };

export async function captured(
  ctx: Context,
  settings: object,
): Promise<{ source: Source; warnings: string; tree: string }> {
  const { sink, source } = memoryParts();
  const { warnings } = await zookeeperDriver.open(settings).capture(ctx, sink);
  return { source, warnings: warnings.join('\n'), tree: String(await readAll(source.get(ctx, 'tree.ndjson'))) };
}

export async function differences(ctx: Context, expected: InventoryReader, settings: object): Promise<string[]> {
  const actual = await zookeeperDriver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(zookeeperDriver.compare(ctx, expected, actual));
  return findings.filter(({ verdict }) => verdict !== 'pass').map(({ check, detail }) => `${check}: ${detail}`);
}

export async function several(client: Client, root: string, count: number): Promise<void> {
  await make(client, root);
  await Promise.all(Array.from({ length: count }, (_, n) => make(client, `${root}/n${n}`, { data: 'x'.repeat(500) })));
}
