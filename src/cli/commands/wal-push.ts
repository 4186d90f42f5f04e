import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Driver } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { ComponentConfig, Config } from '../config/model.ts';
import type { Bind } from '../session.ts';
import { openStore, pickComponents, pickStores } from '../stack.ts';

interface Options {
  readonly component?: string;
  readonly store?: string;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('<path>', 'the file that the server hands over: %p')
    .option('--component <name>', 'whose log it is; needed where several have such a log')
    .option('--store <store>', 'where to; the first of the configuration when left out, as for follow')
    .addHelpText(
      'after',
      `
Success is told when the store has it, and the server asks again after anything else. Example:
  archive_command = 'lifeboat wal-push --config /etc/lifeboat/lifeboat.yaml --component main-db %p'`,
    );
  bind<Options>(command, async (session, options, [path = '']) => {
    const { ctx } = session;
    const config = await session.config();
    const { name, push } = await pusherOf(config, options.component);
    const [store] = pickStores(config, options.store === undefined ? undefined : [options.store]);
    if (!store) throw new Failure('usage', 'a store is needed to store the log in');
    await using open = await openStore(ctx, store);
    const { outcome, why } = await push(ctx, open.store.journal(name), resolve(path));
    // Else it would stand in the server's log for each segment.
    if (session.globals.json) session.print({ component: name, store: store.name, path, outcome, why }, '');
    return 0;
  });
}

type Push = NonNullable<Driver['pushLog']>;

async function pusherOf(config: Config, wanted: string | undefined): Promise<{ name: string; push: Push }> {
  const among = wanted === undefined ? config.components : pickComponents(config, [wanted]);
  const found: { name: string; push: Push }[] = [];
  for (const each of among) {
    const push = await pushOf(each);
    if (push) found.push({ name: each.name, push });
  }
  const [only, ...others] = found;
  if (only && others.length === 0) return only;
  const none = wanted === undefined ? 'no component has a log' : `${wanted} has no log`;
  if (!only) throw new Failure('usage', `${none} that a server hands over by itself`);
  throw new Failure('ambiguous', `the log of which component? ${found.map(({ name }) => name).join(', ')}`, {
    hint: 'name it by --component',
  });
}

async function pushOf(component: ComponentConfig): Promise<Push | undefined> {
  return (await component.driver()).pushLog;
}
