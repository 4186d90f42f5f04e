// Markers: the only document of the index lifeboat-marker.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import { type FoundMarker, type Marker, markerText, notOurs, readMarker } from '../../core/marker.ts';
import type { Context } from '../../core/model.ts';
import { type Client, connect } from './client.ts';
import { matcher } from './listing.ts';
import type { Settings } from './settings.ts';
import { refresh } from './survey.ts';

const INDEX = 'lifeboat-marker';
const WHERE = `index ${INDEX}`;
const DOCUMENT = `/${INDEX}/_doc/marker`;
/** A cluster of one node has no place for a replica, and would be yellow for it. */
const DEFINITION = { settings: { number_of_shards: 1, auto_expand_replicas: '0-1' }, mappings: { dynamic: false } };

const documentSchema = z.object({ _index: z.string(), _source: z.unknown() });
const countSchema = z.object({ count: z.number() });

export async function mark(ctx: Context, settings: Settings, marked: Marker): Promise<void> {
  if (!matcher(settings.indices)(INDEX)) {
    throw new Failure('settings-invalid', `elasticsearch: indices leave out ${INDEX}`, {
      hint: `a marker that is not captured tells nothing: add it to indices, or take markers from the component`,
    });
  }
  await using client = connect(settings);
  if (!(await markerIn(ctx, client))) {
    if (!(await isThere(ctx, client))) await makeIndex(ctx, client);
    await needAlone(ctx, client, 0);
  }
  await client.ask(ctx, 'writing a marker', { method: 'PUT', path: DOCUMENT, body: markerText(marked) }, z.unknown());
}

export async function marker(ctx: Context, settings: Settings): Promise<FoundMarker | null> {
  await using client = connect(settings);
  return await markerIn(ctx, client);
}

export async function unmark(ctx: Context, settings: Settings): Promise<readonly string[]> {
  await using client = connect(settings);
  const found = await markerIn(ctx, client);
  if (!found && !(await isThere(ctx, client))) return [];
  await needAlone(ctx, client, found ? 1 : 0);
  await client.ask(ctx, `removing ${WHERE}`, { method: 'DELETE', path: `/${INDEX}` }, z.unknown());
  return [WHERE];
}

/** An alias or a stream of that name leads to another index. */
async function markerIn(ctx: Context, client: Client): Promise<FoundMarker | null> {
  const found = await client.find(ctx, 'reading the marker', { method: 'GET', path: DOCUMENT }, documentSchema);
  if (!found) return null;
  if (found._index !== INDEX) throw notOurs(WHERE);
  return readMarker(JSON.stringify(found._source), WHERE);
}

async function isThere(ctx: Context, client: Client): Promise<boolean> {
  const request = { method: 'GET', path: `/${INDEX}` } as const;
  const found = await client.find(ctx, `looking for ${WHERE}`, request, z.record(z.string(), z.unknown()));
  if (found && !Object.hasOwn(found, INDEX)) throw notOurs(WHERE);
  return found !== null;
}

/** No other document is in it. */
async function needAlone(ctx: Context, client: Client, expected: 0 | 1): Promise<void> {
  await refresh(ctx, client, INDEX);
  const request = { method: 'GET', path: `/${INDEX}/_count` } as const;
  const { count } = await client.ask(ctx, `counting the documents of ${INDEX}`, request, countSchema);
  if (count !== expected) throw notOurs(WHERE);
}

async function makeIndex(ctx: Context, client: Client): Promise<void> {
  const request = { method: 'PUT', path: `/${INDEX}`, body: JSON.stringify(DEFINITION) } as const;
  await client.ask(ctx, `making ${WHERE}`, request, z.unknown());
}
