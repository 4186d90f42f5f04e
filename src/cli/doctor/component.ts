// A component: does it answer, can it be captured, and could a drill run a server of its version?

import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { Driver } from '../../core/driver.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context, Finding } from '../../core/model.ts';
import type { ComponentConfig } from '../config/model.ts';
import { bytesText } from '../terminal.ts';
import { kindText } from '../views.ts';
import { followingFindings } from './following.ts';
import { clockFinding, failed, type Patient } from './patient.ts';

export interface ExaminedComponent extends Patient {
  /** What it holds; null when it does not tell. */
  readonly bytes: number | null;
}

/** `stores`: names of all there are, in their order. */
export async function examineComponent(
  ctx: Context,
  config: ComponentConfig,
  stores: readonly string[],
): Promise<ExaminedComponent> {
  const who = { kind: 'component', name: config.name } as const;
  try {
    const [driver, settings] = [await config.driver(), await config.settings(ctx)];
    const component = driver.open(settings);
    const probe = await component.probe(ctx);
    const size = probe.bytes === null ? '' : `, ${bytesText(probe.bytes)}`;
    const server = kindText({ kind: driver.kind, serverVersion: probe.version });
    const summary = `${server}${size}${probe.holdsData ? `, holds ${probe.holdsData}` : ', empty'}`;
    const answers: Finding = { check: 'it answers', verdict: 'pass', detail: 'yes' };
    const costs = (await component.costs?.(ctx)) ?? [];
    // Where a server tells no time, cuts have ours: there is nothing that could disagree.
    const clock = probe.clockSkewMs === null ? [] : [clockFinding(probe.clockSkewMs)];
    const findings = [answers, ...clock, ...probe.findings, ...costs];
    findings.push(...(await followingFindings(ctx, config.common, component, stores)));
    findings.push(...(await sandboxFindings(ctx, driver, probe.version, settings)));
    return { ...who, summary, findings, bytes: probe.bytes };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { ...who, summary: config.common.kind, findings: [failed('it answers', error)], bytes: null };
  }
}

/** Backups do without a server on this machine; what they are worth can't be shown without one. */
async function sandboxFindings(
  ctx: Context,
  driver: Driver,
  version: string,
  settings: unknown,
): Promise<readonly Finding[]> {
  if (!driver.serverSpec) return [];
  const check = 'a drill can restore it here';
  const dir = await mkdtemp(join(ctx.scratch, 'doctor-'));
  try {
    const need = { version, dir, port: 1, password: '', settings };
    const { run } = await driver.serverSpec(ctx, need); // nothing is started
    return [{ check, verdict: 'pass', detail: run ? `with ${run.program}` : 'a directory is all that it takes' }];
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [{ ...failed(check, error), verdict: 'unknown' }];
  }
}
