// What doctor wants to know of a Loki. Changes nothing.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { ask, askJson, refusal } from './http.ts';
import { type Limits, limitsOf } from './limits.ts';
import { seriesOf } from './query.ts';
import type { Settings } from './settings.ts';
import { spanBack } from './slices.ts';

const BUILD = '/loki/api/v1/status/buildinfo';
const buildSchema = z.object({ version: z.string() });

/** '3.7.8'; 'unknown' of one that was built without. */
export async function versionOf(ctx: Context, settings: Settings): Promise<string> {
  const { success, data } = buildSchema.safeParse(await askJson(ctx, settings, BUILD, { attempts: 2 }));
  return success && data.version !== '' ? data.version : 'unknown';
}

/** A Loki has no number of its own: its place and the tenant name it. */
export async function identityOf(_ctx: Context, { url, headers }: Settings): Promise<string> {
  const tenant = headers['x-scope-orgid'] ?? '';
  return createHash('sha256')
    .update(JSON.stringify([url, tenant]))
    .digest('hex')
    .slice(0, 16);
}

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  const version = await versionOf(ctx, settings);
  const now = ctx.now().getTime();
  const answer = await ask(ctx, settings, '/loki/api/v1/labels', { attempts: 2 });
  const series = answer.status === 200 ? await seriesOf(ctx, settings, spanBack(now, settings.sinceMs)) : [];
  const limits = await limitsOf(ctx, settings);
  return {
    version,
    identity: await identityOf(ctx, settings),
    bytes: null,
    holdsData: series.length === 0 ? null : `${series.length} streams`,
    clockSkewMs: answer.date === null ? null : Math.round(Date.parse(answer.date) + 500 - now),
    findings: [
      readFinding(settings, answer.status, answer.text),
      limitsFinding(limits),
      retentionFinding(settings, limits),
    ],
  };
}

function readFinding(settings: Settings, status: number, text: string): Finding {
  const check = 'the tenant’s lines may be read';
  if (status === 200) return { check, verdict: 'pass', detail: 'labels and streams were told' };
  const { message, hint } = refusal(settings, '/loki/api/v1/labels', { status, text, date: null });
  return { check, verdict: 'fail', detail: message, ...(hint === undefined ? {} : { hint }) };
}

function limitsFinding({ told, ageMaxMs }: Limits): Finding {
  const check = 'a restore may bring old lines';
  if (!told) {
    const detail = 'it does not show its configuration (/config): by default it refuses lines older than a week';
    return { check, verdict: 'unknown', detail, hint: 'see reject_old_samples_max_age in limits_config' };
  }
  if (ageMaxMs === null) return { check, verdict: 'pass', detail: 'lines of any age are taken' };
  return {
    check,
    verdict: 'unknown',
    detail: `lines older than ${daysText(ageMaxMs)} are refused (reject_old_samples_max_age)`,
    hint: 'before a restore of older ones set reject_old_samples: false in limits_config of the target',
  };
}

function retentionFinding({ sinceMs }: Settings, { retentionMs }: Limits): Finding {
  const check = 'lines are kept as long as a capture goes back';
  if (retentionMs === null || retentionMs >= sinceMs) return { check, verdict: 'pass', detail: daysText(sinceMs) };
  const detail = `they are deleted after ${daysText(retentionMs)}, a capture goes back ${daysText(sinceMs)}`;
  return { check, verdict: 'unknown', detail, hint: 'older points hold lines that this Loki has no more' };
}

export function daysText(ms: number): string {
  const hours = ms / 3_600_000;
  return hours >= 48 ? `${Math.round(hours / 2.4) / 10} days` : `${Math.round(hours * 10) / 10} hours`;
}
