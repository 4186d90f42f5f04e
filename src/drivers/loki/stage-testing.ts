// Where tests of lines begin: a tenant of a Loki that all of a file share.

import { after } from 'node:test';
import { type Loki, type LokiOptions, startLoki } from '../../../test/servers/loki.ts';
import { until } from '../../../test/servers/processes.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { lokiDriver } from './driver.ts';
import type { Place } from './testing.ts';

export const HOUR_MS = 3_600_000;
let shared: Promise<Loki> | undefined;
let tenants = 0;
after(async () => await (await shared)?.[Symbol.asyncDispose]());

/** A tenant of its own; the server gives 300 lines per query, refuses what is older than five days, and hurries. */
export async function place(): Promise<Place & { url: string; tenant: string; since: string }> {
  const limits = ['max_entries_limit_per_query: 300', 'reject_old_samples: true', 'reject_old_samples_max_age: 120h'];
  limits.push('ingestion_rate_mb: 1024', 'ingestion_burst_size_mb: 1024');
  shared ??= startLoki({ tenants: true, limits } satisfies LokiOptions);
  return { url: (await shared).url, tenant: `t${++tenants}`, since: '2d' };
}

/** Of the day (UTC) so many days ago: just after, since what lies at a whole hour may be given to nobody. */
export function noon(daysAgo: number, afterMs = 1): string {
  const today = Math.floor(Date.now() / (24 * HOUR_MS)) * 24 * HOUR_MS;
  return `${today - (daysAgo - 0.5) * 24 * HOUR_MS + afterMs}000000`;
}

export async function captured(
  settings: object,
  previous?: Source,
  sink?: (s: Sink, p?: Source) => Sink,
): Promise<Source> {
  const parts = memoryParts('it', previous ? '2026-01-02-000000' : '2026-01-01-000000');
  await lokiDriver.open(settings).capture(liveContext(), sink?.(parts.sink, previous) ?? parts.sink, previous);
  return parts.source;
}

export async function verdictOf(expected: Source, settings: object): Promise<string> {
  const ctx = liveContext();
  const actual = await lokiDriver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(lokiDriver.compare(ctx, inventoryOf(expected), actual));
  const unlike = findings.filter(({ verdict }) => verdict !== 'pass').slice(0, 3);
  for (const { check, detail } of unlike) console.info(`${check}: ${detail}`);
  return worst(findings.map(({ verdict }) => verdict));
}

export async function textsOf(source: Source): Promise<string[]> {
  const lines: string[] = [];
  for await (const { name } of source.parts(liveContext(), 'lines/')) {
    const text = (await readAll(source.get(liveContext(), name))).toString();
    lines.push(
      ...text
        .trim()
        .split('\n')
        .filter((each) => each !== '')
        .map((each) => String(JSON.parse(each).line)),
    );
  }
  return lines;
}

/** Once no line waits in memory any more. */
export async function writtenToStore({ url }: Place): Promise<void> {
  await fetch(`${url}/flush`, { method: 'POST' });
  await until('all is in the store', 120_000, async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return /^loki_ingester_memory_chunks 0$/m.test(metrics);
  });
}
