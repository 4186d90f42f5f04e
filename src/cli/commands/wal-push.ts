import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../../core/errors.ts';
import { logOwner } from '../log-owner.ts';
import type { Bind } from '../session.ts';
import { openStore, pickStores } from '../stack.ts';

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
    const { name, work: push } = await logOwner(config, options.component, 'pushLog');
    const [store] = pickStores(config, options.store === undefined ? undefined : [options.store]);
    if (!store) throw new Failure('usage', 'a store is needed to store the log in');
    await using open = await openStore(ctx, store);
    const { outcome, why } = await push(ctx, open.store.journal(name), resolve(path));
    // Else it would stand in the server's log for each segment.
    if (session.globals.json) session.print({ component: name, store: store.name, path, outcome, why }, '');
    return 0;
  });
}
