// Loki: log lines with their labels and structured metadata, read by queries and pushed as agents push them.

import type { Component } from '../../core/component.ts';
import type { Driver } from '../../core/driver.ts';
import { renditionsByName } from '../../core/renditions.ts';
import { capture, dayOfPart, linesRendition, liveInventory } from './capture.ts';
import { compare } from './compare.ts';
import { follow, standing } from './journal/follow.ts';
import { measure } from './measure.ts';
import { probe } from './probe.ts';
import { cautions, restore } from './restore.ts';
import { serverSpec } from './sandbox.ts';
import { readSettings, retarget } from './settings.ts';
import { type Span, spanBack } from './slices.ts';

export const lokiDriver = {
  kind: 'loki',
  open,
  compare,
  serverSpec,
  retarget,
  renditions: renditionsByName((names) => {
    const days = names.flatMap((name) => dayOfPart(name) ?? []);
    return new Map(days.map((day) => [`lines/${day}.json`, linesRendition(day)]));
  }),
} satisfies Driver;

function open(input: unknown): Component {
  const settings = readSettings(input);
  /** Of an older point a restore brings what lies further back than captures go. */
  let restored: Span | null = null;
  return {
    probe: (ctx) => probe(ctx, settings),
    capture: (ctx, sink, previous) => capture(ctx, settings, sink, previous),
    follow: (ctx, feed) => follow(ctx, settings, feed),
    standing: (ctx) => standing(ctx, settings),
    async restore(ctx, chain, options) {
      const { span, ...result } = await restore(ctx, settings, chain, options);
      restored = span;
      return result;
    },
    cautions: (ctx, chain, options) => cautions(ctx, settings, chain, options),
    measure: (ctx, query) => measure(ctx, settings, query),
    async inventory(ctx) {
      const span = restored ?? spanBack(ctx.now().getTime(), settings.sinceMs);
      return liveInventory(settings, span);
    },
  };
}
