// PostgreSQL, 15 and newer.

import { inventoryFrom } from '../../core/inventory.ts';
import type { Component, Driver } from '../../core/model.ts';
import { captureServer, liveLines } from './capture.ts';
import { compareInventories } from './compare.ts';
import { restoreServer } from './restore.ts';
import { retargeted, type Server, serverOf } from './settings.ts';

export const postgresqlDriver = {
  kind: 'postgresql',
  open: (settings) => componentOf(serverOf(settings)),
  compare: compareInventories,
  retarget: retargeted,
} satisfies Driver;

function componentOf(server: Server): Component {
  return {
    probe: async () => { throw new Error('todo'); },
    capture: async (ctx, sink) => await captureServer(ctx, server, sink),
    restore: async (ctx, chain, options = {}) => await restoreServer(ctx, server, chain, options),
    inventory: async (ctx) => inventoryFrom(await liveLines(ctx, server, null)),
  };
}
