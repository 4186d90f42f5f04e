import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../../core/errors.ts';
import type { KeyInfo, KeyRing } from '../../core/storage.ts';
import { noteKit } from '../../engine/kit.ts';
import { recoveryKit } from '../init/template.ts';
import type { Bind, Session } from '../session.ts';
import { openStack } from '../stack.ts';
import { table } from '../terminal.ts';

interface Options {
  readonly store?: string;
  readonly newPasswordFile?: string;
}

export function define(command: Command, bind: Bind): void {
  command.addHelpText(
    'after',
    `
Examples:
  lifeboat keys list
  lifeboat keys add --new-password-file ./second.password
  lifeboat keys passwd --new-password-file ./new.password    then put it where the configuration looks
  lifeboat keys kit                                          … and print a new recovery kit`,
  );
  bind<Options>(
    withStore(command.command('list').description('the passwords that open the store')),
    async (session, options) => {
      const keys = await onKeys(session, options, (ring) => ring.list(session.ctx));
      session.print({ keys: keys.map(keyJson) }, () => keyTable(keys));
      return 0;
    },
  );
  const add = withStore(command.command('add').description('let one more password open the store'));
  bind<Options>(add.requiredOption('--new-password-file <file>', 'the new password'), async (session, options) => {
    const password = passwordOf(options);
    const key = await onKeys(session, options, (ring) => ring.add(session.ctx, password));
    session.print({ added: keyJson(key) }, `key ${key.id.slice(0, 8)} added`);
    return 0;
  });
  const remove = withStore(command.command('remove').description('take a password away; never the last one'));
  bind<Options>(remove.argument('<id>', 'the id, or the beginning of it'), async (session, options, [wanted = '']) => {
    const id = await onKeys(session, options, async (ring) => {
      const found = (await ring.list(session.ctx)).filter((key) => key.id.startsWith(wanted));
      const [key, second] = found;
      if (!key) throw new Failure('missing', `there is no key ${wanted}`, { hint: 'lifeboat keys list shows them' });
      if (second) throw new Failure('ambiguous', `${found.length} keys begin with ${wanted}`);
      await ring.remove(session.ctx, key.id);
      return key.id;
    });
    session.print({ removed: id, next: KIT }, `key ${id.slice(0, 8)} removed\n${KIT}`);
    return 0;
  });
  const passwd = withStore(command.command('passwd').description('put a new password in the place of the one in use'));
  bind<Options>(passwd.requiredOption('--new-password-file <file>', 'the new password'), async (session, options) => {
    const password = passwordOf(options);
    const key = await onKeys(session, options, (ring) => ring.change(session.ctx, password));
    const next = `put the new password where the configuration looks for it; ${KIT}`;
    session.print({ key: keyJson(key), next }, `password changed, key ${key.id.slice(0, 8)}\nnext: ${next}`);
    return 0;
  });
  bind(
    command.command('kit').description('print the recovery kit, and note which key it opens the stores by'),
    printKit,
  );
}

const KIT = 'a recovery kit with the old password opens nothing any more: lifeboat keys kit prints a new one';

async function printKit(session: Session): Promise<0> {
  const { ctx } = session;
  const config = await session.config();
  await using stack = await openStack(ctx, config, { components: [] });
  const [unread] = stack.failed;
  if (unread) throw unread.error; // a kit that leaves out a store is none
  const stores: { name: string; url: string; key: string | null }[] = [];
  for (const { name, store } of stack.stores) {
    stores.push({ name, url: store.url, key: await noteKit(ctx, store, { renew: true }) });
  }
  const kit = recoveryKit(config.stack, stores, resolve(config.file));
  session.print({ recovery_kit: kit, stores }, kit);
  return 0;
}

function withStore(command: Command): Command {
  return command.option('--store <store>', 'the store; the only one with passwords when left out');
}

async function onKeys<T>(session: Session, options: Options, work: (ring: KeyRing) => Promise<T>): Promise<T> {
  const config = await session.config();
  const stores = options.store === undefined ? undefined : [options.store];
  await using stack = await openStack(session.ctx, config, { stores, components: [] });
  const [unread] = stack.failed;
  if (unread) throw unread.error; // it may be the one that is meant
  const rings = stack.stores.flatMap(({ name, store }) => (store.keys ? [{ name, ring: store.keys }] : []));
  const [only, second] = rings;
  if (!only) throw new Failure('usage', 'there is no store with passwords', { hint: 'a plain store has none' });
  if (second) {
    const names = rings.map(({ name }) => name).join(', ');
    throw new Failure('usage', 'several stores have passwords', { hint: `choose one with --store: ${names}` });
  }
  return await work(only.ring);
}

/** From a file, so that it is in no list of processes and in no history. */
function passwordOf({ newPasswordFile = '' }: Options): string {
  let text: string;
  try {
    text = readFileSync(newPasswordFile, 'utf8');
  } catch (cause) {
    throw new Failure('usage', `${newPasswordFile} can't be read`, { cause });
  }
  const password = text.replace(/\r?\n$/, '');
  if (password === '') throw new Failure('usage', `${newPasswordFile} is empty`);
  return password;
}

function keyJson({ id, created, username, hostname, current }: KeyInfo): object {
  return { id, created, username, hostname, current };
}

function keyTable(keys: readonly KeyInfo[]): string {
  return table(
    ['key', 'created', 'by', 'on', ''].map((title) => ({ title })),
    keys.map((key) => [key.id.slice(0, 8), key.created, key.username, key.hostname, key.current ? 'in use' : '']),
  );
}
