// ZooKeeper: the tree of znodes with their data and rights, read and written by a client of our own.

import type { Component } from '../../core/component.ts';
import type { Driver } from '../../core/driver.ts';
import { renditionsByName } from '../../core/renditions.ts';
import { capture, liveInventory, treeRendition } from './capture.ts';
import { clear } from './clear.ts';
import { compare } from './compare.ts';
import { TREE_PART } from './entries.ts';
import { holds, measure, names } from './measure.ts';
import { probe } from './probe.ts';
import { restore } from './restore.ts';
import { serverSpec } from './sandbox.ts';
import { readSettings, retarget } from './settings.ts';

export const zookeeperDriver = {
  kind: 'zookeeper',
  open,
  compare,
  serverSpec,
  retarget,
  renditions: renditionsByName((names) => new Map(names.includes(TREE_PART) ? [[TREE_PART, treeRendition]] : [])),
} satisfies Driver;

function open(input: unknown): Component {
  const settings = readSettings(input);
  return {
    probe: (ctx) => probe(ctx, settings),
    capture: (ctx, sink) => capture(ctx, settings, sink),
    restore: (ctx, chain, options) => restore(ctx, settings, chain, options),
    inventory: (ctx) => liveInventory(ctx, settings),
    clear: (ctx) => clear(ctx, settings),
    measure: (ctx, query) => measure(ctx, settings, query),
    names: (ctx, space) => names(ctx, settings, space),
    holds: (ctx, space, asked) => holds(ctx, settings, space, asked),
  };
}
