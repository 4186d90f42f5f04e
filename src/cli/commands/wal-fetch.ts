import { resolve } from 'node:path';
import { chdir } from 'node:process';
import type { Command } from 'commander';
import type { Driver } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { ComponentConfig, Config } from '../config/model.ts';
import { namesOption } from '../options.ts';
import type { Bind } from '../session.ts';
import { type OpenStack, openStack, pickComponents } from '../stack.ts';

interface Options {
  readonly component?: string;
  readonly store?: readonly string[];
  readonly spool?: string;
  readonly directory?: string;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('<file>', 'a segment of the log or the history of a timeline, as PostgreSQL calls it: %f')
    .argument('<path>', 'where it goes: %p')
    .option('--component <name>', 'of which component; needed where several have such a log')
    .addOption(namesOption('--store <stores>', 'only these stores, in the order of the configuration'))
    .option('--spool <directory>', 'a folder for the segments that come next')
    .option('--directory <directory>', 'where paths of the configuration are seen from')
    .addHelpText(
      'after',
      `
For PostgreSQL's restore_command, which lifeboat restore writes by itself. Example:
  restore_command = 'lifeboat wal-fetch --component main-db %f %p'

Exit codes: 0 given, 3 the log ends before it, 255 whatever else: PostgreSQL then stops, and can be started again`,
    );
  bind<Options>(command, async (session, { component, store, spool, directory }, [file = '', path = '']) => {
    const { ctx } = session;
    const request = { file, path: resolve(path), spool: spool === undefined ? undefined : resolve(spool) };
    if (directory !== undefined) chdir(directory); // the server's own is its data directory
    const config = await session.config();
    const { name, fetch } = await fetcherOf(config, component);
    await using stack = await openStack(ctx, config, { stores: store, components: [] });
    const isGiven = await fromAny(ctx, stack, name, (journal) => fetch(ctx, journal, request));
    if (session.globals.json) session.print({ file, given: isGiven }, ''); // else it would stand in the server's log
    return isGiven ? 0 : 3;
  });
}

type Fetch = NonNullable<Driver['fetchLog']>;

async function fetcherOf(config: Config, wanted: string | undefined): Promise<{ name: string; fetch: Fetch }> {
  const among = wanted === undefined ? config.components : pickComponents(config, [wanted]);
  const found: { name: string; fetch: Fetch }[] = [];
  for (const each of among) {
    const fetch = await fetchOf(each);
    if (fetch) found.push({ name: each.name, fetch });
  }
  const [only, ...others] = found;
  if (only && others.length === 0) return only;
  if (!only) throw new Failure('usage', `${wanted ?? 'no component'} has no log that a server fetches by itself`);
  throw new Failure('ambiguous', `the log of which component? ${found.map(({ name }) => name).join(', ')}`, {
    hint: 'name it by --component',
  });
}

async function fetchOf(component: ComponentConfig): Promise<Fetch | undefined> {
  return (await component.driver()).fetchLog;
}

/** That there is none must be known of every store: one that is away may have it. */
async function fromAny(
  ctx: Context,
  { stores, failed }: OpenStack,
  component: string,
  fetch: (journal: Parameters<Fetch>[1]) => Promise<boolean>,
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
