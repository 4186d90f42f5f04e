// Elasticsearch and OpenSearch: documents and definitions exported into our stores, or snapshots by the cluster itself.

import type { Chain, Component } from '../../core/component.ts';
import type { Driver } from '../../core/driver.ts';
import type { Context, Restored, RestoreOptions } from '../../core/model.ts';
import { renditionsByName, withForms } from '../../core/renditions.ts';
import { ageing, resumeAgeing } from './ageing.ts';
import { capture } from './capture.ts';
import { connect } from './client.ts';
import { compare } from './compare.ts';
import { follow } from './follow.ts';
import { cautions } from './foresight.ts';
import { liveInventory } from './inventory.ts';
import { mark, marker, unmark } from './markers.ts';
import { holds, names } from './names.ts';
import { formOf } from './plain.ts';
import { measure, probe } from './probe.ts';
import { restore } from './restore.ts';
import { serverSpec } from './sandbox.ts';
import { serverFacts } from './server.ts';
import { readSettings, retarget, type Settings } from './settings.ts';
import { captureSnapshot, checkSnapshot, releaseSnapshot, SNAPSHOT_PART } from './snapshot.ts';
import { restoreSnapshot } from './snapshot-restore.ts';

export const elasticsearchDriver = {
  kind: 'elasticsearch',
  open,
  compare,
  serverSpec,
  retarget,
  renditions: renditionsByName((names) => new Map(names.map((name) => [name, formOf(name)]))),
} satisfies Driver;

function open(input: unknown): Component {
  const settings = readSettings(input);
  return {
    probe: (ctx) => probe(ctx, settings),
    async capture(ctx, sink, previous) {
      const formed = withForms(sink, formOf);
      if (settings.method === 'snapshot') return await captureSnapshot(ctx, settings, formed);
      return await capture(ctx, settings, formed, previous);
    },
    follow: (ctx, feed) => follow(ctx, settings, feed),
    restore: (ctx, chain, options) => back(ctx, settings, chain, options),
    inventory: (ctx) => liveInventory(ctx, settings),
    ageing: (ctx, chain, options) => ageing(ctx, settings, chain, options),
    cautions: (ctx, chain, options) => cautions(ctx, settings, chain, options),
    resume: (ctx, what) => resumeAgeing(ctx, settings, what),
    check: (ctx, external) => checkSnapshot(ctx, settings, external),
    release: (ctx, external) => releaseSnapshot(ctx, settings, external),
    mark: (ctx, marked) => mark(ctx, settings, marked),
    marker: (ctx) => marker(ctx, settings),
    unmark: (ctx) => unmark(ctx, settings),
    measure: (ctx, query) => measure(ctx, settings, query),
    names: (ctx, space) => names(ctx, settings, space),
    holds: (ctx, space, ids) => holds(ctx, settings, space, ids),
  };
}

/** A point says itself how it was made, whatever the settings say now. */
async function back(
  ctx: Context,
  settings: Settings,
  { base }: Chain,
  options: RestoreOptions = {},
): Promise<Restored> {
  await using client = connect(settings);
  const session = { client, server: await serverFacts(ctx, client), settings };
  for await (const { name } of base.parts(ctx, SNAPSHOT_PART)) {
    if (name === SNAPSHOT_PART) return await restoreSnapshot(ctx, session, base, options);
  }
  return await restore(ctx, session, base, options);
}
