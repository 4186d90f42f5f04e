// What a restore would do to what is there, in words for the preview: planned as the restore itself plans it.

import type { Chain } from '../../core/component.ts';
import type { Context, RestoreOptions } from '../../core/model.ts';
import { named } from './capture.ts';
import { connect } from './client.ts';
import { planRestore, type RestorePlan } from './plan.ts';
import { serverFacts } from './server.ts';
import type { Settings } from './settings.ts';
import { SNAPSHOT_PART } from './snapshot.ts';
import { planSnapshot } from './snapshot-restore.ts';
import type { Session } from './survey.ts';

/** Changes nothing. Throws what the restore would be refused for. */
export async function cautions(
  ctx: Context,
  settings: Settings,
  { base }: Chain,
  { delta, ...options }: RestoreOptions = {},
): Promise<readonly string[]> {
  await using client = connect(settings);
  const session: Session = { client, server: await serverFacts(ctx, client), settings };
  // To tell what differs, all of the target would have to be read.
  const asked = { ...options, ...(delta && { replace: true }) };
  const replaced = delta ? 'replaced where it differs' : 'replaced';
  for await (const { name } of base.parts(ctx, SNAPSHOT_PART)) {
    if (name !== SNAPSHOT_PART) continue;
    const { taken } = await planSnapshot(ctx, session, base, asked);
    return taken.map((each) => `${each.name} is there and is ${replaced}`);
  }
  return told(await planRestore(ctx, session, base, asked), replaced);
}

function told({ remove, unalias, moved, definitions, left, warnings }: RestorePlan, replaced: string): string[] {
  return [
    ...[...remove.streams, ...remove.indices].map((name) => `${name} is there and is ${replaced}`),
    ...unalias.map(({ alias, holders }) => `alias ${alias} is taken from ${named(holders)}: an index needs its name`),
    ...moved.map(({ alias, holders }) => `alias ${alias} moves away from ${named(holders)}`),
    ...definitions.filter(({ isThere }) => isThere).map(({ kind, name }) => `${kind} ${name} is there and is replaced`),
    ...left,
    ...warnings,
  ];
}
