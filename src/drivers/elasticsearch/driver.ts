// Elasticsearch and OpenSearch: documents and definitions exported into our stores, or snapshots by the cluster itself.

import type { Component, Driver } from '../../core/model.ts';
import { ageing } from './ageing.ts';
import { capture, liveInventory } from './capture.ts';
import { compare } from './compare.ts';
import { measure, probe } from './probe.ts';
import { restore } from './restore.ts';
import { serverSpec } from './sandbox.ts';
import { readSettings, retarget } from './settings.ts';

export const elasticsearchDriver = { kind: 'elasticsearch', open, compare, serverSpec, retarget } satisfies Driver;

function open(input: unknown): Component {
  const settings = readSettings(input);
  return {
    probe: (ctx) => probe(ctx, settings),
    capture: (ctx, sink, previous) => capture(ctx, settings, sink, previous),
    restore: (ctx, chain, options) => restore(ctx, settings, chain, options),
    inventory: (ctx) => liveInventory(ctx, settings),
    ageing: (ctx, chain, options) => ageing(ctx, settings, chain, options),
    measure: (ctx, query) => measure(ctx, settings, query),
  };
}
