// Redis and Valkey: captured as a replica of them, restored as their master.

import type { Component } from '../../core/component.ts';
import type { Driver, Recognised } from '../../core/driver.ts';
import { inventoryFrom } from '../../core/inventory.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { renditionsByName } from '../../core/renditions.ts';
import { capture, liveInventory, RDB_PART, rdbRendition } from './capture.ts';
import { clear, detach, isHalfOf, isolation } from './clear.ts';
import { compare } from './compare.ts';
import { follower } from './follow.ts';
import { mark, marker, unmark } from './markers.ts';
import { measure } from './measure.ts';
import { holds, names } from './names.ts';
import { probe } from './probe.ts';
import { restore } from './restore.ts';
import { extract, merge } from './rows.ts';
import { serverSpec } from './sandbox.ts';
import { readSettings, retarget } from './settings.ts';
import { standing } from './standing.ts';
import { startWalk } from './walker.ts';

export const redisDriver = {
  kind: 'redis',
  open,
  compare,
  serverSpec,
  retarget,
  renditions: renditionsByName((names) => new Map(names.includes(RDB_PART) ? [[RDB_PART, rdbRendition]] : [])),
  recognise,
  isHalfOf,
} satisfies Driver;

function open(input: unknown): Component {
  const settings = readSettings(input);
  return {
    probe: (ctx) => probe(ctx, settings),
    capture: (ctx, sink) => capture(ctx, settings, sink),
    follow: follower(settings),
    standing: (ctx) => standing(ctx, settings),
    restore: (ctx, chain, options) => restore(ctx, settings, chain, options),
    inventory: async (ctx) => inventoryFrom(await liveInventory(ctx, settings)),
    clear: (ctx) => clear(ctx, settings),
    detach: (ctx) => detach(ctx, settings),
    isolation: (ctx) => isolation(ctx, settings),
    mark: (ctx, marked) => mark(ctx, settings, marked),
    marker: (ctx) => marker(ctx, settings),
    unmark: (ctx) => unmark(ctx, settings),
    measure: (ctx, query) => measure(ctx, settings, query),
    names: (ctx, pattern) => names(ctx, settings, pattern),
    holds: (ctx, _pattern, wanted) => holds(ctx, settings, wanted),
    extract: (ctx, chain, selection) => extract(ctx, settings, chain, selection),
    merge: (ctx, rows, _selection, mode) => merge(ctx, settings, rows, mode),
  };
}

/** redis-2024-02-23-020000.rdb and redis_20260128_120000.rdb.gz, as the old scripts name them. */
function recognise(fileName: string): Recognised | null {
  const [, stamp] = /^redis[-_](\d{4}-\d{2}-\d{2}-\d{6}|\d{8}_\d{6})\.rdb(?:\.gz)?$/.exec(fileName) ?? [];
  return stamp === undefined ? null : { part: RDB_PART, stamp, checked };
}

/** An RDB tells its end and, unless its server was told not to sum, its check sum. */
async function* checked(ctx: Context, body: Bytes): Bytes {
  await using walk = startWalk(ctx, { kind: 'tally', level: 'counts', databases: null });
  yield* walk.through(body);
}
