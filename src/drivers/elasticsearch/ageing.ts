// What deletes by age: lifecycle management stands still while documents come back, and goes on after the comparison.

import { z } from 'zod';
import type { Chain } from '../../core/component.ts';
import { interruption, outliving } from '../../core/context.ts';
import { messageOf } from '../../core/errors.ts';
import type { Context, Restored, RestoreOptions } from '../../core/model.ts';
import { connect } from './client.ts';
import { definitionsOf } from './definitions.ts';
import { DEFINITIONS_FOLDER, definitionOfPart } from './entries.ts';
import type { RestorePlan } from './plan.ts';
import { type ServerFacts, serverFacts } from './server.ts';
import type { Settings } from './settings.ts';
import type { Session } from './survey.ts';

const UNDO_MS = 60_000;
const ISM = 'plugins.index_state_management.enabled';
const statusSchema = z.object({ operation_mode: z.string() });
const clusterSchema = z.object({
  persistent: z.record(z.string(), z.json()).default({}),
  transient: z.record(z.string(), z.json()).default({}),
});

/** How lifecycle management was set before. */
interface Suspended {
  readonly kind: ServerFacts['kind'];
  /** Of OpenSearch: what its setting said, null for nothing. */
  readonly persistent: z.output<typeof clusterSchema>['persistent'][string];
}

/** Policies of the point and of the target, in words for the preview. */
export async function ageing(
  ctx: Context,
  settings: Settings,
  { base }: Chain,
  { select }: RestoreOptions = {},
): Promise<readonly string[]> {
  const found: string[] = [];
  for await (const { name } of select ? [] : base.parts(ctx, `${DEFINITIONS_FOLDER}policy/`)) {
    found.push(`lifecycle policy ${definitionOfPart(name)?.name} of the point`);
  }
  await using client = connect(settings);
  const server = await serverFacts(ctx, client);
  for (const { kind, name } of await definitionsOf(ctx, client, server)) {
    if (kind === 'policy') found.push(`lifecycle policy ${name} of the target`);
  }
  return found;
}

/**
 * Does the work of a restore while lifecycle management stands still. That goes on when the work fails, also when
 * nobody knows whether it was ever stopped; else when it is settled.
 */
export async function withoutAgeing<R>(
  ctx: Context,
  session: Session,
  { plan, options }: { plan: Pick<RestorePlan, 'definitions'>; options: RestoreOptions },
  work: () => Promise<R>,
): Promise<{ done: R; settling: Pick<Restored, 'settle'> }> {
  let suspended: Suspended | null = null;
  const settle = (later: Context): Promise<void> => settleAgeing(later, session.settings, suspended);
  try {
    suspended = await suspendAgeing(ctx, session, plan, async (what) => {
      suspended = what;
      await options.suspending?.({ ...what });
    });
    const done = await work();
    return { done, settling: suspended ? { settle } : {} };
  } catch (error) {
    await settle(patient(ctx)).catch((cause) => {
      ctx.log.warn('lifecycle management is still suspended', { reason: messageOf(cause) });
    });
    throw ctx.signal.aborted ? interruption(ctx.signal) : error;
  }
}

/** Null when nothing had to be. */
async function suspendAgeing(
  ctx: Context,
  { client, server }: Session,
  { definitions }: Pick<RestorePlan, 'definitions'>,
  suspending: (what: Suspended) => Promise<void>,
): Promise<Suspended | null> {
  const there = await definitionsOf(ctx, client, server);
  if (![...there, ...definitions].some(({ kind }) => kind === 'policy')) return null;
  if (server.kind === 'elasticsearch') {
    const asked = { method: 'GET', path: '/_ilm/status' } as const;
    const status = await client.find(ctx, 'asking for lifecycle management', asked, statusSchema);
    if (status?.operation_mode !== 'RUNNING') return null;
    const suspended: Suspended = { kind: server.kind, persistent: null };
    await suspending(suspended);
    await client.ask(ctx, 'stopping lifecycle management', { method: 'POST', path: '/_ilm/stop' }, z.unknown());
    return suspended;
  }
  const asked = { method: 'GET', path: '/_cluster/settings?flat_settings=true' } as const;
  const { persistent } = await client.ask(ctx, 'reading the settings of the cluster', asked, clusterSchema);
  if (String(persistent[ISM]) === 'false') return null;
  const suspended: Suspended = { kind: server.kind, persistent: persistent[ISM] ?? null };
  await suspending(suspended);
  const body = JSON.stringify({ persistent: { [ISM]: false } });
  const reply = await client.send(ctx, { method: 'PUT', path: '/_cluster/settings', body });
  if (reply.status === 400) return null; // it has no such thing: nothing ages there
  if (reply.status >= 300) throw client.refusal('stopping lifecycle management', reply);
  return suspended;
}

async function settleAgeing(ctx: Context, settings: Settings, suspended: Suspended | null): Promise<void> {
  if (!suspended) return;
  await using client = connect(settings);
  const request =
    suspended.kind === 'elasticsearch'
      ? ({ method: 'POST', path: '/_ilm/start' } as const)
      : ({
          method: 'PUT',
          path: '/_cluster/settings',
          body: JSON.stringify({ persistent: { [ISM]: suspended.persistent } }),
        } as const);
  await client.ask(ctx, 'starting lifecycle management again', request, z.unknown());
}

const suspendedSchema = z.object({ kind: z.enum(['elasticsearch', 'opensearch']), persistent: z.json() });

/** After a restore that was killed. Where somebody has set it going since, it goes. */
export async function resumeAgeing(ctx: Context, settings: Settings, what: unknown): Promise<void> {
  const suspended = suspendedSchema.parse(what);
  if (suspended.kind === 'opensearch') {
    await using client = connect(settings);
    const asked = { method: 'GET', path: '/_cluster/settings?flat_settings=true' } as const;
    const { persistent } = await client.ask(ctx, 'reading the settings of the cluster', asked, clusterSchema);
    if (String(persistent[ISM]) !== 'false') return;
  }
  await settleAgeing(ctx, settings, suspended);
}

/** What is set back is set back, also when the user has no patience any more. */
export function patient(ctx: Context): Context {
  return outliving(ctx, UNDO_MS);
}
