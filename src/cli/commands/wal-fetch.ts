import { resolve } from 'node:path';
import { chdir } from 'node:process';
import type { Command } from 'commander';
import type { AheadRequest } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Journal } from '../../core/journal.ts';
import type { Context } from '../../core/model.ts';
import type { Config } from '../config/model.ts';
import { logOwner } from '../log-owner.ts';
import { namesOption } from '../options.ts';
import type { Bind } from '../session.ts';
import { type OpenStack, openStack } from '../stack.ts';

interface Options {
  readonly component?: string;
  readonly store?: readonly string[];
  readonly spool?: string;
  readonly ahead: boolean;
  readonly directory?: string;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('<file>', 'a segment of the log or the history of a timeline, as PostgreSQL calls it: %f')
    .argument('<path>', 'where it goes: %p')
    .option('--component <name>', 'of which component; needed where several have such a log')
    .addOption(namesOption('--store <stores>', 'only these stores, in the order of the configuration'))
    .option('--spool <directory>', 'the folder of segments that come next, which lifeboat restore has made')
    .option('--ahead', 'put this file and those behind it into that folder as long as the server takes them', false)
    .option('--directory <directory>', 'where paths of the configuration are seen from')
    .addHelpText(
      'after',
      `
For PostgreSQL's restore_command, which lifeboat restore writes by itself. Example:
  restore_command = 'lifeboat wal-fetch --component main-db %f %p'

Exit codes: 0 given, 3 the log ends before it, 255 whatever else: PostgreSQL then stops, and can be started again`,
    );
  bind<Options>(command, async (session, options, [file = '', path = '']) => {
    const { ctx } = session;
    const { component, store, directory, ahead } = options;
    const spool = options.spool === undefined ? undefined : resolve(options.spool);
    const request = { file, path: resolve(path), spool };
    if (ahead && spool === undefined) throw new Failure('usage', '--ahead fills the folder that --spool names');
    if (directory !== undefined) chdir(directory); // the server's own is its data directory
    const config = await session.config();
    const { name, work: fetch } = await logOwner(config, component, 'fetchLog');
    await using stack = await openStack(ctx, config, { stores: store, components: [] });
    const ask: Ask = (within, wanted) => fromAny(ctx, stack, name, (journal) => fetch(within, journal, wanted));
    const isGiven = ahead
      ? await fromAny(ctx, stack, name, await aheadOf(ctx, config, name, { ...request, spool: spool ?? '', ask }))
      : await ask(ctx, request);
    if (session.globals.json) session.print({ file, given: isGiven }, ''); // else it would stand in the server's log
    return isGiven ? 0 : 3;
  });
}

type Ask = AheadRequest['ask'];

async function aheadOf(ctx: Context, config: Config, component: string, request: AheadRequest) {
  const { work } = await logOwner(config, component, 'fetchLogAhead');
  return (journal: Journal) => work(ctx, journal, request);
}

/** That there is none must be known of every store: one that is away may have it. */
async function fromAny(
  ctx: Context,
  { stores, failed }: OpenStack,
  component: string,
  fetch: (journal: Journal) => Promise<boolean>,
): Promise<boolean> {
  const errors = failed.map(({ error }) => error);
  for (const { store } of stores) {
    try {
      if (await fetch(store.journal(component))) return true;
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return false;
}
