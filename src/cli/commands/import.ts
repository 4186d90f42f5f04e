import type { Command } from 'commander';
import { Failure } from '../../core/errors.ts';
import type { Adopted } from '../../core/storage.ts';
import { importFolders } from '../../engine/import.ts';
import type { Bind } from '../session.ts';
import { type OpenStack, type OpenStore, openStack } from '../stack.ts';
import { plural, table } from '../terminal.ts';
import { setIn } from '../views.ts';

interface Options {
  readonly store?: string;
  readonly timezone: string;
  readonly plan?: string;
}

export function define(command: Command, bind: Bind): void {
  command
    .option(
      '--store <store>',
      'the plain store whose bucket is the folder of the old backups; the only one when left out',
    )
    .option('--timezone <zone>', 'of the stamps in names such as postgres_DB_20260128_120000.sql.gz', 'UTC')
    .option('--plan <plan>', 'the plan whose keep rules hold for them; without one they are kept')
    .addHelpText(
      'after',
      `
The files stay as they are; what is known of them is noted beside them, so that they can be listed, verified, restored
and drilled. Run it again when older scripts have written more.

Example: lifeboat import --store dated --timezone Europe/Madrid`,
    );
  bind<Options>(command, async (session, options) => {
    const { ctx } = session;
    assertTimeZone(options.timezone);
    const config = await session.config();
    if (options.plan !== undefined && !Object.hasOwn(config.plans, options.plan)) {
      throw new Failure('usage', `there is no plan ${options.plan}`);
    }
    const stores = options.store === undefined ? undefined : [options.store];
    await using stack = await openStack(ctx, config, { stores });
    const store = storeOf(stack);
    const { timezone: timeZone, plan = null } = options;
    const request = { stack: config.stack, store, components: stack.components, timeZone, plan };
    const found = await Array.fromAsync(importFolders(ctx, request));
    session.print({ store: store.name, points: found.map(toJson) }, () => toText(store.name, found));
    return found.every(({ point, findings }) => point !== null && findings.length === 0) ? 0 : 3;
  });
}

function assertTimeZone(timeZone: string): void {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone });
  } catch (cause) {
    throw new Failure('usage', `--timezone ${timeZone} is no time zone`, { cause, hint: 'such as Europe/Madrid' });
  }
}

/** The one that can hold files of other programs. */
function storeOf({ stores, failed }: OpenStack): OpenStore {
  const [unread] = failed;
  if (unread) throw unread.error; // it may be the one that is meant
  const able = stores.filter(({ store }) => store.adopt);
  const store = able[0] ?? stores[0];
  if (!store) throw new Error('at least one store is open');
  if (able.length <= 1) return store;
  throw new Failure('usage', 'several stores can hold the folders of old backups', {
    hint: `choose one with --store: ${able.map(({ name }) => name).join(', ')}`,
  });
}

function toJson({ id, point, files, findings }: Adopted): object {
  return { id, imported: point !== null, files, findings };
}

function toText(store: string, found: readonly Adopted[]): string {
  if (found.length === 0) return `${store}: nothing new`;
  const rows = found.map(({ id, point, files }) => [id, point ? 'a point now' : 'NOT USABLE', files.join(', ')]);
  const findings = found.flatMap(({ id, findings: each }) =>
    each.map(({ verdict, check, detail }) => `${verdict}: ${id}: ${setIn(`${check}: ${detail}`)}`),
  );
  const usable = found.filter(({ point }) => point !== null).length;
  return [
    `${store}: ${plural(usable, 'point')} imported`,
    table(
      ['point', '', 'files'].map((title) => ({ title })),
      rows,
    ),
    ...findings,
  ].join('\n');
}
