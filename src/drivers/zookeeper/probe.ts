// What doctor wants to know of an ensemble. Changes nothing.

import type { Context, Finding, Probe } from '../../core/model.ts';
import { type Client, connect } from './client.ts';
import { heldBelow } from './existing.ts';
import { identityOf, versionOf } from './facts.ts';
import { REFUSED, request } from './protocol.ts';
import type { Settings } from './settings.ts';
import { walk } from './walk.ts';

/** As many znodes are looked at. */
const LOOKED_AT = 2000;

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  const version = await versionOf(ctx, settings);
  await using client = await connect(ctx, settings);
  const { error } = await client.ask('exists', request.read(settings.root));
  return {
    version,
    identity: await identityOf(client, settings),
    bytes: null,
    holdsData: await heldBelow(client, settings.root),
    clockSkewMs: null, // it tells its clock to those only who write
    findings: [
      rootFinding(settings, error),
      await watchFinding(client, settings),
      await readFinding(ctx, client, settings),
    ],
  };
}

function rootFinding({ root }: Settings, error: number): Finding {
  const check = `the znode ${root} is there`;
  if (error === 0) return { check, verdict: 'pass', detail: 'it is' };
  const hint = 'see root and the chroot in hosts of the component';
  return { check, verdict: 'fail', detail: 'there is none: nothing can be captured, a restore makes it', hint };
}

async function watchFinding(client: Client, { root }: Settings): Promise<Finding> {
  const check = 'the server tells what changes while it is read';
  const error = await client.watch(root, () => {});
  if (error === 0) return { check, verdict: 'pass', detail: 'persistent watches' };
  const why = error === REFUSED.unimplemented ? 'it is older than 3.6' : 'it refuses a persistent watch';
  return { check, verdict: 'fail', detail: why, hint: 'a capture needs ZooKeeper 3.6 or newer' };
}

async function readFinding(ctx: Context, client: Client, { root, user }: Settings): Promise<Finding> {
  const check = 'every znode may be read';
  const reader = { client, root, take: async () => null };
  const denied: string[] = [];
  let seen = 0;
  for await (const entries of walk(ctx, reader)) {
    seen += entries.length;
    denied.push(...entries.filter(({ type }) => type === 'denied').map(({ path }) => path));
    if (seen >= LOOKED_AT) break;
  }
  if (denied.length > 0) {
    return {
      check,
      verdict: 'fail',
      detail: `${denied.length} of the first ${seen} may not: ${denied.slice(0, 5).join(', ')}`,
      hint: `add digest:${user?.name ?? 'backup'}:…:r to their ACLs, or let the component be the user super`,
    };
  }
  const all = seen < LOOKED_AT ? `all ${seen}` : `the first ${seen}; those behind were not tried`;
  return { check, verdict: 'pass', detail: `${all} can be read` };
}
