// For staging services: emptied after a drill, and asked whether what is written there stays there.

import type { Context, Finding, InventoryLine } from '../../core/model.ts';
import { connect } from './connection.ts';
import { discard } from './restore.ts';
import { serverFacts } from './server.ts';
import type { Settings } from './settings.ts';

/** The databases of the component, and the functions with all of them. */
export async function clear(ctx: Context, settings: Settings): Promise<string[]> {
  await using connection = await connect(ctx, settings);
  await discard(connection, settings.databases);
  return [];
}

/** Where keys are restored one by one, some of a type are there and others are not. */
export function isHalfOf(expected: InventoryLine, actual: InventoryLine): boolean {
  return actual.kind === 'keys' && (actual.count ?? 0) < (expected.count ?? 0);
}

/** A killed restore was its master. A link that works is somebody else's. */
export async function detach(ctx: Context, settings: Settings): Promise<void> {
  await using connection = await connect(ctx, settings);
  const { info, masterAt } = await serverFacts(connection);
  if (masterAt !== null && info.get('master_link_status') === 'down') await connection.call('REPLICAOF', 'NO', 'ONE');
}

/** Its replicas get what is restored into it. */
export async function isolation(ctx: Context, settings: Settings): Promise<readonly Finding[]> {
  await using connection = await connect(ctx, settings);
  const { info, masterAt, mode } = await serverFacts(connection);
  const replicas = info.get('connected_slaves') ?? 'an unknown number of';
  const alone = replicas === '0' && masterAt === null && mode === 'standalone';
  const detail = `${mode}, ${replicas} replicas${masterAt === null ? '' : `, a replica of ${masterAt}`}`;
  return [{ check: 'nothing replicates from it', verdict: alone ? 'pass' : 'unknown', detail }];
}
