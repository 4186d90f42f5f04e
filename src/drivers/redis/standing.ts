// Where the log of a server is now.

import type { Standing } from '../../core/component.ts';
import type { Context } from '../../core/model.ts';
import { sourceClock } from './clock.ts';
import { connect } from './connection.ts';
import { positionOf, sourceOf } from './position.ts';
import { serverFacts } from './server.ts';
import type { Settings } from './settings.ts';

export async function standing(ctx: Context, settings: Settings): Promise<Standing> {
  await using connection = await connect(ctx, settings);
  const clock = await sourceClock(ctx, connection, 0);
  const { replicationId, info } = await serverFacts(connection);
  const offset = BigInt(info.get('master_repl_offset') ?? 0);
  return {
    source: sourceOf(replicationId),
    end: { position: positionOf(offset), at: new Date(clock.now()).toISOString() },
    clock: clock.measured() ?? null,
  };
}
