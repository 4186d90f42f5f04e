// Whether a component is followed and marked as its configuration says.

import type { Component } from '../../core/component.ts';
import type { Context, Finding } from '../../core/model.ts';
import type { ComponentConfig } from '../config/model.ts';
import { durationText } from '../terminal.ts';
import { failed } from './patient.ts';

type Common = Pick<ComponentConfig['common'], 'kind' | 'follow' | 'markers'>;

/** A marker may wait for a base, or for who follows to be started again. */
const LATE_MS = 60_000;

export async function followingFindings(
  ctx: Context,
  { kind, follow, markers }: Common,
  component: Component,
  stores: readonly string[],
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  if (follow && !component.follow) {
    const hint = 'take follow from it: commands that open it are refused for that';
    findings.push({ check: 'it can be followed', verdict: 'fail', detail: `${kind} can not be, as it is here`, hint });
  }
  findings.push(...((await component.kept?.(ctx, { isFollowed: follow, stores })) ?? []));
  if (markers !== undefined) findings.push(await markerFinding(ctx, markers, component));
  return findings;
}

async function markerFinding(ctx: Context, everyMs: number, { mark, marker }: Component): Promise<Finding> {
  const check = `a marker is written each ${durationText(everyMs)}`;
  const hint = 'lifeboat follow writes them: see that it runs, and what it says';
  if (!mark || !marker) {
    const refused = 'take markers from it: commands that open it are refused for that';
    return { check, verdict: 'fail', detail: 'none can be written into it', hint: refused };
  }
  try {
    const found = await marker(ctx);
    if (!found) return { check, verdict: 'fail', detail: 'there is none', hint };
    const agoMs = Math.max(0, ctx.now().getTime() - Date.parse(found.at));
    const detail = `number ${found.number}, ${durationText(agoMs)} ago, ${found.where}`;
    if (agoMs <= 2 * everyMs + LATE_MS) return { check, verdict: 'pass', detail };
    return { check, verdict: 'fail', detail, hint };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return failed(check, error);
  }
}
