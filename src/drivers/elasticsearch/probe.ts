// What doctor wants to know of a cluster. Changes nothing.

import { z } from 'zod';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { named } from './capture.ts';
import { type Client, connect } from './client.ts';
import { type Listing, listing } from './listing.ts';
import { serverFacts, serverTime } from './server.ts';
import type { Settings } from './settings.ts';

const PATTERN_SAMPLE = 3;

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  const found = await listing(ctx, { client, server }, settings.indices);
  const before = ctx.now().getTime();
  const theirs = await serverTime(ctx, client);
  const ours = (before + ctx.now().getTime()) / 2;
  const names = [...new Set(found.indices.map(({ name, stream }) => stream ?? name))];
  return {
    version: server.version,
    identity: server.identity,
    bytes: found.indices.reduce((all, { bytes }) => all + bytes, 0),
    holdsData:
      names.length === 0 ? null : `${names.length === 1 ? 'index' : `${names.length} indices:`} ${named(names)}`,
    clockSkewMs: theirs === null ? null : Math.round(theirs - ours),
    findings: [...stateFindings(found), ...(await rightsFindings(ctx, client, found))],
  };
}

function stateFindings({ indices }: Listing): Finding[] {
  const closed = indices.filter(({ isOpen }) => !isOpen).map(({ name }) => name);
  const red = indices.filter(({ isRed }) => isRed).map(({ name }) => name);
  const check = 'all indices can be read';
  if (red.length > 0) {
    const hint = 'look at _cluster/allocation/explain';
    return [{ check, verdict: 'fail', detail: `${named(red)}: red, they lack shards`, hint }];
  }
  if (closed.length > 0) {
    const hint = 'open them, or leave them out by the setting indices';
    return [{ check, verdict: 'unknown', detail: `${named(closed)}: closed, their documents are not captured`, hint }];
  }
  return [{ check, verdict: 'pass', detail: `${indices.length} open` }];
}

/** Asks for what a capture asks for, and for nothing that changes. */
async function rightsFindings(ctx: Context, client: Client, { indices }: Listing): Promise<Finding[]> {
  const rights: [string, string][] = [
    ['the user may read templates', '/_index_template'],
    ['the user may read ingest pipelines', '/_ingest/pipeline'],
  ];
  for (const { name } of indices.filter(({ isOpen }) => isOpen).slice(0, PATTERN_SAMPLE)) {
    const index = encodeURIComponent(name);
    rights.push([`the user may read the definition of ${name}`, `/${index}`]);
    rights.push([`the user may read documents of ${name}`, `/${index}/_search?size=0`]);
    rights.push([`the user may read the statistics of ${name}`, `/${index}/_stats/docs`]);
  }
  const findings: Finding[] = [];
  for (const [check, path] of rights) {
    const reply = await client.send(ctx, { method: 'GET', path });
    if (reply.status < 300 || reply.status === 404) continue;
    const { message, hint } = client.refusal('it', reply);
    findings.push({ check, verdict: 'fail', detail: message, ...(hint !== undefined && { hint }) });
  }
  if (findings.length > 0) return findings;
  return [{ check: 'the user may read what a capture reads', verdict: 'pass', detail: `${rights.length} requests` }];
}

/** A user's check: `index` or `index?q=query`; the answer is how many documents it has. */
export async function measure(ctx: Context, settings: Settings, query: string): Promise<number> {
  await using client = connect(settings);
  const [index = '', search = ''] = query.split(/\?(.*)/s);
  const path = `/${index.split(',').map(encodeURIComponent).join(',')}/_count${search === '' ? '' : `?${search}`}`;
  const schema = z.object({ count: z.number() });
  return (await client.ask(ctx, `counting ${query}`, { method: 'GET', path }, schema)).count;
}
