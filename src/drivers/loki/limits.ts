// What a Loki says about queries and pushes of this tenant. Behind a gateway nobody may ask.

import { parse } from 'yaml';
import { z } from 'zod';
import type { Context } from '../../core/model.ts';
import { parseDuration } from '../../core/settings.ts';
import { ask } from './http.ts';
import { LIMIT_DEFAULT } from './query.ts';
import type { Settings } from './settings.ts';

export interface Limits {
  /** False when it did not say all: the others are then what it would have by default. */
  readonly told: boolean;
  readonly linesMax: number;
  /** Null when lines of any age are taken. */
  readonly ageMaxMs: number | null;
  /** After this time lines are deleted; null when never. */
  readonly retentionMs: number | null;
  /** Older lines are given to nobody; null when all are. */
  readonly lookbackMs: number | null;
  /** Older lines are seen only once they have been written to the store; null when at once. */
  readonly unseenMs: number | null;
  /** That lines come into at the same time; null for any number. */
  readonly streamsMax: number | null;
}

const WEEK_MS = 7 * 86_400_000;
const STREAMS_DEFAULT = 5000;
const UNSEEN_MS = 3 * 3_600_000;
/** Who is only busy shall not be taken for one that does not tell: lines would be left out. */
const ATTEMPTS = 4;
/** Some of this tenant's own, which Loki 3.5 and later tell. */
const TENANT_LIMITS = '/config/tenant/v1/limits';

const limitsSchema = z.object({
  max_entries_limit_per_query: z.number().optional(),
  reject_old_samples: z.boolean().optional(),
  reject_old_samples_max_age: z.string().optional(),
  retention_period: z.string().optional(),
  max_query_lookback: z.string().optional(),
  max_global_streams_per_user: z.number().optional(),
});
const configSchema = z.object({
  limits_config: limitsSchema,
  ingester: z.object({ query_store_max_look_back_period: z.string().optional() }).optional(),
  querier: z.object({ query_ingesters_within: z.string().optional() }).optional(),
  compactor: z.object({ retention_enabled: z.boolean().optional() }).optional(),
});

export async function limitsOf(ctx: Context, settings: Settings): Promise<Limits> {
  const [own, config] = await Promise.all([
    yamlAt(ctx, settings, TENANT_LIMITS, limitsSchema),
    yamlAt(ctx, settings, '/config', configSchema),
  ]);
  const limits = { ...config?.limits_config, ...own };
  const rejects = limits.reject_old_samples ?? true;
  const streams = limits.max_global_streams_per_user ?? STREAMS_DEFAULT;
  return {
    told: config !== null,
    linesMax: limits.max_entries_limit_per_query || LIMIT_DEFAULT,
    ageMaxMs: rejects ? (msOf(limits.reject_old_samples_max_age) ?? WEEK_MS) : null,
    retentionMs: config?.compactor?.retention_enabled ? msOf(limits.retention_period) : null,
    lookbackMs: msOf(limits.max_query_lookback),
    unseenMs: unseenMsOf(config),
    streamsMax: streams === 0 ? null : streams,
  };
}

/** Who does not show its configuration is taken to have the one that a Loki has by default. */
function unseenMsOf(config: z.output<typeof configSchema> | null): number | null {
  if (config === null) return UNSEEN_MS;
  return msOf(config.ingester?.query_store_max_look_back_period) ?? msOf(config.querier?.query_ingesters_within);
}

/** Null when it is not told, or some other page is there. */
async function yamlAt<S extends z.ZodType>(
  ctx: Context,
  settings: Settings,
  path: string,
  schema: S,
): Promise<z.output<S> | null> {
  const { status, text } = await ask(ctx, settings, path, { attempts: ATTEMPTS });
  if (status !== 200) return null;
  let document: unknown;
  try {
    document = parse(text, { logLevel: 'silent' });
  } catch {
    return null; // HTML
  }
  const { success, data } = schema.safeParse(document);
  return success ? data : null;
}

/** '1w', '30d1h', '0s'; null for none and for nothing. */
function msOf(text: string | undefined): number | null {
  return (text === undefined ? null : parseDuration(text)) || null;
}
