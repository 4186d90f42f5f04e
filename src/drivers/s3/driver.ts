// Buckets of S3: MinIO, SeaweedFS, versitygw, AWS.

import type { Component } from '../../core/component.ts';
import type { Driver } from '../../core/driver.ts';
import { capture } from './capture.ts';
import { clear } from './clear.ts';
import { compare } from './compare.ts';
import { follow, standing } from './journal/follow.ts';
import { liveInventory } from './live.ts';
import { mark, marker, unmark } from './markers.ts';
import { recogniseFolder } from './mirror.ts';
import { holds, names } from './names.ts';
import { renditions } from './plain.ts';
import { probe } from './probe.ts';
import { ageing, cautions, type Past, restore, resumeLifecycle } from './restore.ts';
import { serverSpec } from './sandbox.ts';
import { readSettings, retarget } from './settings.ts';
import { writtenObjects } from './written.ts';

export const s3Driver = {
  kind: 's3',
  open,
  compare,
  serverSpec,
  retarget,
  renditions,
  recogniseFolder,
  isHalfOf: ({ kind }) => kind === 'setting', // objects come whole, and settings last
} satisfies Driver;

function open(input: unknown): Component {
  const settings = readSettings(input);
  const past: Past = { written: writtenObjects(), filled: new Set() };
  return {
    probe: (ctx) => probe(ctx, settings),
    capture: (ctx, sink, previous) => capture(ctx, settings, sink, previous),
    follow: (ctx, feed) => follow(ctx, settings, feed),
    standing: (ctx) => standing(ctx, settings),
    restore: (ctx, chain, options) => restore(ctx, settings, past, chain, options),
    resume: (ctx, what) => resumeLifecycle(ctx, settings, what),
    ageing: (ctx, chain, options) => ageing(ctx, settings, chain, options),
    cautions: (ctx, chain, options) => cautions(ctx, settings, chain, options),
    inventory: async () => liveInventory(settings, past),
    clear: (ctx, chain) => clear(ctx, settings, past.filled, chain),
    mark: (ctx, marked) => mark(ctx, settings, marked),
    marker: (ctx) => marker(ctx, settings),
    unmark: (ctx) => unmark(ctx, settings),
    names: (ctx, space) => names(ctx, settings, space),
    holds: (ctx, space, keys) => holds(ctx, settings, space, keys),
  };
}
