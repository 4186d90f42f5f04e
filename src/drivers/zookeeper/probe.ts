// What doctor wants to know of an ensemble. Changes nothing.

import type { Context, Finding, Probe } from '../../core/model.ts';
import { type Client, connect } from './client.ts';
import { heldBelow } from './existing.ts';
import { identityOf, versionOf } from './facts.ts';
import { isMasked, REFUSED, request, wordsFor } from './protocol.ts';
import { identitiesOf, lacking } from './rights.ts';
import { joined, type Settings } from './settings.ts';
import { walk } from './walk.ts';

/** As many znodes are looked at. */
const LOOKED_AT = 2000;
const NAMED_MAX = 5;

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  const version = await versionOf(ctx, settings);
  await using client = await connect(ctx, settings);
  const { error } = await client.ask('exists', request.read(settings.root));
  return {
    version,
    identity: await identityOf(client, settings),
    bytes: null,
    holdsData: error === REFUSED.noAuth ? 'what may not be seen' : await heldBelow(client, settings.root),
    clockSkewMs: null, // it tells its clock to those only who write
    findings: [
      rootFinding(settings, error),
      await watchFinding(client, settings),
      ...(error === 0 ? await rightsFindings(ctx, client, settings) : []),
    ],
  };
}

function rootFinding({ root }: Settings, error: number): Finding {
  const check = `the znode ${root} is there`;
  if (error === 0) return { check, verdict: 'pass', detail: 'it is' };
  if (error !== REFUSED.noNode) {
    const hint = 'see its ACL and the rights of the user of the component';
    return { check, verdict: 'fail', detail: wordsFor(error), hint };
  }
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

async function rightsFindings(ctx: Context, client: Client, settings: Settings): Promise<Finding[]> {
  const { root } = settings;
  const identities = await identitiesOf(client, settings);
  const reader = { client, root, take: async () => null };
  const denied: string[] = [];
  const fixed: string[] = [];
  const masked: string[] = [];
  let seen = 0;
  for await (const entries of walk(ctx, reader)) {
    for (const { path, type, acl } of entries) {
      if (++seen > LOOKED_AT) break;
      const full = joined(root, path);
      if (type === 'denied') denied.push(full);
      if (isMasked(acl)) masked.push(full);
      const lacks = type === 'znode' ? lacking(acl, identities) : '';
      if (lacks !== '') fixed.push(`${full} (${lacks})`);
    }
    if (seen >= LOOKED_AT) break;
  }
  const looked = seen < LOOKED_AT ? `all ${seen}` : `the first ${LOOKED_AT}; those behind were not tried`;
  return [readFinding(settings, denied, looked), aclFinding(settings, masked, looked), writeFinding(fixed, looked)];
}

function readFinding({ user }: Settings, denied: readonly string[], looked: string): Finding {
  const check = 'every znode may be read';
  if (denied.length === 0) return { check, verdict: 'pass', detail: `${looked} can be read` };
  const named = denied.slice(0, NAMED_MAX).join(', ');
  return {
    check,
    verdict: 'fail',
    detail: `of ${looked}, ${denied.length} may not, nor what is below them: ${named}`,
    hint: `add digest:${user?.name ?? 'USER'}:…:r to their ACLs, or let the component be the user super`,
  };
}

function aclFinding({ user }: Settings, masked: readonly string[], looked: string): Finding {
  const check = 'every ACL may be read whole';
  if (masked.length === 0) return { check, verdict: 'pass', detail: `${looked} show theirs` };
  const named = masked.slice(0, NAMED_MAX).join(', ');
  return {
    check,
    verdict: 'fail',
    detail: `of ${looked}, ${masked.length} hide the hashes of passwords, so their ACLs can't be restored: ${named}`,
    hint: `add digest:${user?.name ?? 'USER'}:…:ra to their ACLs, or let the component be the user super`,
  };
}

/** Another root, or an empty ensemble, wants none of these. */
function writeFinding(fixed: readonly string[], looked: string): Finding {
  const check = 'a restore in place may change every znode';
  if (fixed.length === 0) return { check, verdict: 'pass', detail: `${looked} give all of cdrwa` };
  const named = fixed.slice(0, NAMED_MAX).join(', ');
  return {
    check,
    verdict: 'unknown',
    detail: `of ${looked}, ${fixed.length} do not give all of cdrwa; rights that are missing: ${named}`,
    hint: 'captures do not need them; for a restore in place let the component be the user super',
  };
}
