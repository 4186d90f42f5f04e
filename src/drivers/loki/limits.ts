// What a Loki's configuration says about queries and old lines. Behind a gateway nobody may ask.

import { parse } from 'yaml';
import { z } from 'zod';
import type { Context } from '../../core/model.ts';
import { parseDuration } from '../../core/settings.ts';
import { ask } from './http.ts';
import { LIMIT_DEFAULT } from './query.ts';
import type { Settings } from './settings.ts';

export interface Limits {
  /** False when it did not say: then these are what it would have by default. */
  readonly told: boolean;
  readonly linesMax: number;
  /** Null when lines of any age are taken. */
  readonly ageMaxMs: number | null;
  /** After this time lines are deleted; null when never. */
  readonly retentionMs: number | null;
  /** Older lines are seen only once they have been written to the store; null when at once. */
  readonly unseenMs: number | null;
}

const WEEK_MS = 7 * 86_400_000;
const configSchema = z.object({
  limits_config: z.object({
    max_entries_limit_per_query: z.number().optional(),
    reject_old_samples: z.boolean().optional(),
    reject_old_samples_max_age: z.string().optional(),
    retention_period: z.string().optional(),
  }),
  ingester: z.object({ query_store_max_look_back_period: z.string().optional() }).optional(),
  querier: z.object({ query_ingesters_within: z.string().optional() }).optional(),
  compactor: z.object({ retention_enabled: z.boolean().optional() }).optional(),
});

export async function limitsOf(ctx: Context, settings: Settings): Promise<Limits> {
  const unknown: Limits = {
    told: false,
    linesMax: LIMIT_DEFAULT,
    ageMaxMs: WEEK_MS,
    retentionMs: null,
    unseenMs: null,
  };
  const { status, text } = await ask(ctx, settings, '/config', { attempts: 1 });
  if (status !== 200) return unknown;
  let config: unknown;
  try {
    config = parse(text, { logLevel: 'silent' });
  } catch {
    return unknown; // some other page
  }
  const { success, data } = configSchema.safeParse(config);
  if (!success) return unknown;
  const { limits_config: limits, ingester, querier, compactor } = data;
  const rejects = limits.reject_old_samples ?? true;
  return {
    told: true,
    linesMax: limits.max_entries_limit_per_query || LIMIT_DEFAULT,
    ageMaxMs: rejects ? (msOf(limits.reject_old_samples_max_age) ?? WEEK_MS) : null,
    retentionMs: compactor?.retention_enabled ? msOf(limits.retention_period) : null,
    unseenMs: msOf(ingester?.query_store_max_look_back_period) ?? msOf(querier?.query_ingesters_within),
  };
}

/** '1w', '30d1h', '0s'; null for none and for nothing. */
function msOf(text: string | undefined): number | null {
  return (text === undefined ? null : parseDuration(text)) || null;
}
