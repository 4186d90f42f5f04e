// What doctor wants to know of a cluster. Changes nothing.

import { z } from 'zod';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { named } from './capture.ts';
import { connect, type Reply, type Request } from './client.ts';
import { definitionPaths } from './definitions.ts';
import { type Listing, listing } from './listing.ts';
import { forgetMoment, momentPath } from './reader.ts';
import { type ServerFacts, serverFacts, serverTime } from './server.ts';
import type { Settings } from './settings.ts';
import type { Session } from './survey.ts';

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
    findings: [...stateFindings(found), ...(await rightsFindings(ctx, { client, server, settings }, found))],
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

interface Right {
  readonly check: string;
  readonly request: Request;
  /** A capture does without it, at a cost. */
  readonly without?: string;
  /** What was asked for is given back. */
  readonly after?: (reply: Reply) => Promise<void>;
}

/** Asks for what a capture asks for, and for nothing that changes; each right that lacks is a finding of its own. */
async function rightsFindings(
  ctx: Context,
  { client, server, settings }: Session,
  { indices }: Listing,
): Promise<Finding[]> {
  const rights = [...clusterRights(server, settings)];
  for (const { name } of indices.filter(({ isOpen, isRed }) => isOpen && !isRed).slice(0, PATTERN_SAMPLE)) {
    rights.push(...indexRights(ctx, { client, server }, settings, name));
  }
  const findings: Finding[] = [];
  for (const { check, request, without, after } of rights) {
    const reply = await client.send(ctx, request);
    if (reply.status < 300) await after?.(reply);
    if (reply.status < 300 || ![401, 403].includes(reply.status)) continue; // what is not there is no right
    const { message, hint } = client.refusal('it', reply);
    const detail = without === undefined ? message : `${message}; ${without}`;
    findings.push({ check, verdict: without === undefined ? 'fail' : 'unknown', detail, ...(hint && { hint }) });
  }
  if (findings.length > 0) return findings;
  return [{ check: 'the user may read what a capture reads', verdict: 'pass', detail: `${rights.length} requests` }];
}

function clusterRights(server: ServerFacts, { method, repository }: Settings): Right[] {
  const get = (what: string, path: string): Right => ({
    check: `the user may read ${what}`,
    request: { method: 'GET', path },
  });
  const rights = definitionPaths(server).map(([kind, path]) => get(`each ${kind}`, path));
  if (method === 'snapshot' && repository) {
    const path = `/_snapshot/${encodeURIComponent(repository.name)}`;
    rights.push(get('the repository of snapshots', path), get('snapshots', `${path}/_all`));
  }
  return rights;
}

function indexRights(
  ctx: Context,
  { client, server }: Pick<Session, 'client' | 'server'>,
  { method }: Settings,
  name: string,
): Right[] {
  const index = `/${encodeURIComponent(name)}`;
  const right = (what: string, way: Request['method'], path: string, more: Partial<Right> = {}): Right => ({
    check: `the user may ${what} ${name}`,
    request: { method: way, path: index + path },
    ...more,
  });
  const both = [
    right('read the definition of', 'GET', ''),
    right('read the statistics of', 'GET', '/_stats/docs', { without: 'each capture then reads all of it anew' }),
    right('refresh', 'POST', '/_refresh', { without: 'what was written lately may lack, and all is read each time' }),
  ];
  if (method === 'snapshot') return [...both, right('count documents of', 'GET', '/_count')];
  return [
    ...both,
    right('read documents of', 'GET', '/_search?size=0'),
    right('hold', 'POST', momentPath(server, '1m'), {
      after: (reply) => forgetMoment(ctx, client, server, reply.body),
    }),
  ];
}

/** A user's check: `index` or `index?q=query`; the answer is how many documents it has. */
export async function measure(ctx: Context, settings: Settings, query: string): Promise<number> {
  await using client = connect(settings);
  const [index = '', search = ''] = query.split(/\?(.*)/s);
  const path = `/${index.split(',').map(encodeURIComponent).join(',')}/_count${search === '' ? '' : `?${search}`}`;
  const schema = z.object({ count: z.number() });
  return (await client.ask(ctx, `counting ${query}`, { method: 'GET', path }, schema)).count;
}
