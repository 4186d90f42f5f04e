// The ids of an index, for checks that what one service names is there in another.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Client, connect } from './client.ts';
import { aliasesOf, type ListedIndex, listing } from './listing.ts';
import { openMoment } from './reader.ts';
import { serverFacts } from './server.ts';
import type { Settings } from './settings.ts';
import { refresh, type Session } from './survey.ts';

const IDS_ASKED = 1000;
const PAGE_DOCUMENTS = 10_000;

const foundSchema = z.object({
  timed_out: z.literal(false),
  _shards: z.object({ failed: z.literal(0) }),
  hits: z.object({ hits: z.array(z.object({ _id: z.string() })) }),
});

/** `space` is an index, an alias or a data stream. */
export async function* names(ctx: Context, settings: Settings, space: string): AsyncIterable<string> {
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  for (const { name: index, shards } of await indicesOf(ctx, { client, server, settings }, space)) {
    await refresh(ctx, client, index);
    await using moment = await openMoment(ctx, client, server, { index, resultWindow: PAGE_DOCUMENTS });
    for (let slice = 0; slice < shards; slice++) {
      for await (const ids of moment.ids(ctx, { id: slice, of: shards })) yield* ids;
    }
  }
}

/** Documents are searched for, not asked for: only that finds those with a routing of their own. */
export async function holds(
  ctx: Context,
  settings: Settings,
  space: string,
  ids: readonly string[],
): Promise<readonly boolean[]> {
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  await indicesOf(ctx, { client, server, settings }, space);
  await refresh(ctx, client, space);
  const found = new Set<string>();
  for (let at = 0; at < ids.length; at += IDS_ASKED) {
    for (const id of await searched(ctx, client, space, ids.slice(at, at + IDS_ASKED))) found.add(id);
  }
  return ids.map((id) => found.has(id));
}

async function searched(ctx: Context, client: Client, space: string, ids: readonly string[]): Promise<string[]> {
  const values = [...new Set(ids)];
  // An alias or a stream may have one id several times, in different indices.
  const found: string[] = [];
  for (let left = values; left.length > 0; ) {
    const query = { size: IDS_ASKED, _source: false, query: { ids: { values: left } } };
    const path = `/${encodeURIComponent(space)}/_search?allow_partial_search_results=false`;
    const request = { method: 'POST', path, body: JSON.stringify(query) } as const;
    const { hits } = await client.ask(ctx, `looking for ids in ${space}`, request, foundSchema);
    const here = hits.hits.map(({ _id }) => _id);
    found.push(...here);
    if (here.length < IDS_ASKED) break;
    left = left.filter((id) => !here.includes(id));
  }
  return found;
}

async function indicesOf(ctx: Context, session: Session, space: string): Promise<readonly ListedIndex[]> {
  const { indices } = await listing(ctx, session, null);
  const holders = (await aliasesOf(ctx, session.client)).get(space) ?? [];
  const meant = indices.filter(({ name, stream }) => name === space || stream === space || holders.includes(name));
  if (meant.length > 0) return meant;
  throw new Failure('missing', `there is no index ${space} at ${session.client.where}`);
}
