// What doctor wants to know of a Loki. Changes nothing.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Failure } from '../../core/errors.ts';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { type Answer, ask, askJson, PUSH, refusal } from './http.ts';
import { type Limits, limitsOf } from './limits.ts';
import { readingOf, seriesOf } from './query.ts';
import type { Settings } from './settings.ts';
import { spanBack } from './slices.ts';

const LABELS = '/loki/api/v1/labels';
/** In pages of fewer a capture takes long. */
const LINES_FEW = 1000;
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
  const answer = await ask(ctx, settings, LABELS, { attempts: 2 });
  const readable = answer.status === 200;
  const streams = readable ? (await seriesOf(ctx, readingOf(settings), spanBack(now, settings.sinceMs))).length : 0;
  const limits = await limitsOf(ctx, settings);
  return {
    version,
    identity: await identityOf(ctx, settings),
    bytes: null,
    holdsData: streams === 0 ? null : `${streams} streams`,
    clockSkewMs: answer.date === null ? null : Math.round(Date.parse(answer.date) + 500 - now),
    findings: [
      readFinding(settings, answer),
      await pushFinding(ctx, settings),
      ...limitFindings(settings, limits, streams),
    ],
  };
}

function readFinding(settings: Settings, answer: Answer): Finding {
  const check = 'the tenant’s lines may be read';
  if (answer.status === 200) return { check, verdict: 'pass', detail: 'labels and streams were told' };
  return refused(check, refusal(settings, LABELS, answer));
}

/** A push of nothing: who may not push is refused, and nothing is changed. */
async function pushFinding(ctx: Context, settings: Settings): Promise<Finding> {
  const check = 'lines may be pushed, for restores';
  const answer = await ask(ctx, settings, PUSH, { body: '{"streams":[]}', attempts: 2 });
  if (![401, 403, 404, 405].includes(answer.status))
    return { check, verdict: 'pass', detail: 'a push of nothing was let in' };
  const { message } = refusal(settings, PUSH, answer);
  return { check, verdict: 'unknown', detail: message, hint: 'a restore needs it; captures do not' };
}

function refused(check: string, { message, hint }: Failure): Finding {
  return { check, verdict: 'fail', detail: message, ...(hint === undefined ? {} : { hint }) };
}

/** Nothing here keeps a capture from being whole but the look back. */
function limitFindings({ sinceMs }: Settings, limits: Limits, streams: number): Finding[] {
  const { told, linesMax, ageMaxMs, retentionMs, lookbackMs, streamsMax } = limits;
  if (!told) {
    const detail = 'it does not show its configuration (/config): by default it refuses lines older than a week';
    const hint = 'see reject_old_samples_max_age in limits_config';
    return [{ check: 'its limits are known', verdict: 'unknown', detail, hint }];
  }
  const rule = (check: string, fine: boolean, [good, bad, hint]: readonly [string, string, string]): Finding =>
    fine ? { check, verdict: 'pass', detail: good } : { check, verdict: 'unknown', detail: bad, hint };
  const back = daysText(sinceMs);
  return [
    rule('many lines are given at once', linesMax >= LINES_FEW, [
      `${linesMax}`,
      `only ${linesMax}: captures take long`,
      'raise max_entries_limit_per_query',
    ]),
    rule('a restore may bring old lines', ageMaxMs === null, [
      'lines of any age are taken',
      `lines older than ${daysText(ageMaxMs ?? 0)} are refused (reject_old_samples_max_age)`,
      'before a restore of older ones set reject_old_samples: false in limits_config of the target',
    ]),
    rule('a restore may bring as many streams', streamsMax === null || streams <= streamsMax, [
      streamsMax === null ? 'any number' : `${streams} of ${streamsMax}`,
      `there are ${streams}, and lines of ${streamsMax} are taken at a time (max_global_streams_per_user)`,
      'raise it in limits_config of the target before a restore',
    ]),
    rule('lines are kept as long as a capture goes back', retentionMs === null || retentionMs >= sinceMs, [
      back,
      `they are deleted after ${daysText(retentionMs ?? 0)}, a capture goes back ${back}`,
      'older points hold lines that this Loki has no more',
    ]),
    rule('lines are given as far back as a capture goes', lookbackMs === null || lookbackMs >= sinceMs, [
      back,
      `older ones than ${daysText(lookbackMs ?? 0)} are given to nobody (max_query_lookback): captures have none of them`,
      'raise it, or make since shorter',
    ]),
  ];
}

export function daysText(ms: number): string {
  const hours = ms / 3_600_000;
  return hours >= 48 ? `${Math.round(hours / 2.4) / 10} days` : `${Math.round(hours * 10) / 10} hours`;
}
