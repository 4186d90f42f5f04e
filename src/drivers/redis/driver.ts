// Redis and Valkey: captured as a replica of them, restored as their master.

import { inventoryFrom } from '../../core/inventory.ts';
import type { Component, Driver } from '../../core/model.ts';
import { capture, liveInventory, RDB_PART, rdbRendition } from './capture.ts';
import { compare } from './compare.ts';
import { measure } from './measure.ts';
import { probe } from './probe.ts';
import { restore } from './restore.ts';
import { extract, merge } from './rows.ts';
import { serverSpec } from './sandbox.ts';
import { readSettings, retarget } from './settings.ts';

export const redisDriver = {
  kind: 'redis',
  open,
  compare,
  serverSpec,
  retarget,
  renditions: (names) => new Map(names.includes(RDB_PART) ? [[RDB_PART, rdbRendition]] : []),
  recognise,
} satisfies Driver;

function open(input: unknown): Component {
  const settings = readSettings(input);
  return {
    probe: (ctx) => probe(ctx, settings),
    capture: (ctx, sink) => capture(ctx, settings, sink),
    restore: (ctx, chain, options) => restore(ctx, settings, chain, options),
    inventory: async (ctx) => inventoryFrom(await liveInventory(ctx, settings)),
    measure: (ctx, query) => measure(ctx, settings, query),
    extract: (ctx, chain, selection) => extract(ctx, settings, chain, selection),
    merge: (ctx, rows, _selection, mode) => merge(ctx, settings, rows, mode),
  };
}

/** redis-2024-02-23-020000.rdb and redis_20260128_120000.rdb.gz, as the old scripts name them. */
function recognise(fileName: string): { part: string; stamp: string } | null {
  const [, stamp] = /^redis[-_](\d{4}-\d{2}-\d{2}-\d{6}|\d{8}_\d{6})\.rdb(?:\.gz)?$/.exec(fileName) ?? [];
  return stamp === undefined ? null : { part: RDB_PART, stamp };
}
