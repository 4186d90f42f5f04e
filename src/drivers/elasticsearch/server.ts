// Which server it is, and in which words it is asked.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Client, jsonOf } from './client.ts';

export interface ServerFacts {
  readonly kind: 'opensearch' | 'elasticsearch';
  readonly number: string;
  /** 'opensearch 2.19.1' */
  readonly version: string;
  readonly identity: string;
}

const rootSchema = z.object({
  cluster_uuid: z.string(),
  version: z.object({ distribution: z.string().optional(), number: z.string() }),
});
const nodesSchema = z.object({ nodes: z.record(z.string(), z.object({ timestamp: z.number() })).optional() });

export async function serverFacts(ctx: Context, client: Client): Promise<ServerFacts> {
  const root = await client.ask(ctx, 'asking what it is', { method: 'GET', path: '/' }, rootSchema);
  const { number, distribution } = root.version;
  const kind = distribution === 'opensearch' ? 'opensearch' : 'elasticsearch';
  const [major = 0, minor = 0] = number.split('.').map(Number);
  const old =
    kind === 'opensearch' ? major < 2 || (major === 2 && minor < 4) : major < 7 || (major === 7 && minor < 12);
  if (old) {
    throw new Failure('version-mismatch', `${client.where}: ${kind} ${number} has no points in time`, {
      hint: 'OpenSearch from 2.4 and Elasticsearch from 7.12 on have them',
    });
  }
  return { kind, number, version: `${kind} ${number}`, identity: root.cluster_uuid };
}

/** In milliseconds; null when the server does not say. */
export async function serverTime(ctx: Context, client: Client): Promise<number | null> {
  const path = '/_nodes/_local/stats/os?filter_path=nodes.*.timestamp';
  const reply = await client.send(ctx, { method: 'GET', path });
  if (reply.status !== 200) return null;
  const { data } = nodesSchema.safeParse(jsonOf(reply.body));
  const [first] = Object.values(data?.nodes ?? {});
  return first?.timestamp ?? null;
}
