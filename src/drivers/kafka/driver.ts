// Kafka: records as the brokers keep them, from the start of each partition up to its last stable offset.

import type { Component } from '../../core/component.ts';
import type { Driver } from '../../core/driver.ts';
import { capture } from './capture.ts';
import { compare } from './compare.ts';
import { liveInventory } from './inventory.ts';
import { follow, standing } from './journal/follow.ts';
import { mark, marker, unmark } from './markers.ts';
import { probe } from './probe.ts';
import { holds, measure, names } from './questions.ts';
import { ageing, restore } from './restore.ts';
import { serverSpec } from './sandbox.ts';
import { readSettings, retarget } from './settings.ts';
import { resumeSettings } from './suspended.ts';

export const kafkaDriver = {
  kind: 'kafka',
  open,
  compare,
  serverSpec,
  retarget,
} satisfies Driver;

function open(input: unknown): Component & Required<Pick<Component, 'measure' | 'names' | 'holds'>> {
  const settings = readSettings(input);
  return {
    probe: (ctx) => probe(ctx, settings),
    capture: (ctx, sink, previous) => capture(ctx, settings, sink, previous),
    follow: (ctx, feed) => follow(ctx, settings, feed),
    standing: (ctx) => standing(ctx, settings),
    restore: (ctx, chain, options) => restore(ctx, settings, chain, options),
    resume: (ctx, what) => resumeSettings(ctx, settings, what),
    ageing: (ctx, chain, options) => ageing(ctx, settings, chain, options),
    inventory: (ctx) => liveInventory(ctx, settings),
    mark: (ctx, marked) => mark(ctx, settings, marked),
    marker: (ctx) => marker(ctx, settings),
    unmark: (ctx) => unmark(ctx, settings),
    measure: (ctx, query) => measure(ctx, settings, query),
    names: (ctx, topic) => names(ctx, settings, topic),
    holds: (ctx, topic, asked) => holds(ctx, settings, topic, asked),
  };
}
