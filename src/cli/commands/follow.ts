import type { Command } from 'commander';
import { Failure } from '../../core/errors.ts';
import { follow } from '../../engine/follow.ts';
import type { FollowStore } from '../../engine/follow-views.ts';
import { marking } from '../../engine/markers.ts';
import type { Config, StoreConfig } from '../config/model.ts';
import { followedJson, followedText, showFollowing } from '../following.ts';
import { namesOption } from '../options.ts';
import type { Bind, ExitCode, Session } from '../session.ts';
import { openComponents, openStore, pickStores } from '../stack.ts';
import { bytesText } from '../terminal.ts';

interface Options {
  readonly to?: readonly string[];
  readonly drop?: true;
  readonly forgetJournal?: true;
  readonly anew?: true;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('[components...]', 'only these; all with follow: true when left out')
    .addOption(namesOption('--to <stores>', 'only to these stores; the first of them is fed, the others get copies'))
    .option('--drop', 'follow them no more: remove what is kept for that at the service, such as a slot')
    .option('--forget-journal', 'with --drop: remove their journals from the stores, too')
    .option('--anew', 'begin in the first store although another one has more of a log')
    .addHelpText(
      'after',
      `
Examples:
  lifeboat follow                        until Ctrl-C, all components that say follow: true
  lifeboat follow main-db --to offsite   one component, one store
  lifeboat follow --drop main-db         give its slot back; what was stored stays
  lifeboat schedule print                a service that starts it and keeps it running`,
    );
  bind<Options>(command, async (session, options, names) => {
    if (options.drop) return await drop(session, options, names);
    if (options.forgetJournal) throw new Failure('usage', '--forget-journal needs --drop');
    const { ctx } = session;
    const config = await session.config();
    const components = await openComponents(ctx, config, chosen(config, names));
    const stuck = components.find(({ component }) => !component.follow);
    if (stuck) throw new Failure('usage', `${stuck.name} can not be followed: ${stuck.kind} as it is configured`);
    const chosenStores = pickStores(config, options.to);
    const stores = chosenStores.map(followed);
    const elsewhere = config.stores.filter((each) => !chosenStores.includes(each)).map(followed);
    using following = showFollowing(session);
    const { stack, version } = config;
    await using _markers = marking(ctx, components);
    const { anew } = options;
    const { told } = following;
    const ended = await follow(ctx, { stack, version, components, stores, elsewhere, anew, told });
    const failed = ended.flatMap(({ error }) => error ?? []);
    session.print(followedJson(ended), () => followedText(ctx, ended));
    const [first] = failed;
    if (first && failed.length === ended.length) throw first;
    return first ? 3 : 0;
  });
}

function followed(store: StoreConfig): FollowStore {
  return { name: store.name, open: (ctx) => openStore(ctx, store) };
}

function chosen(config: Config, names: readonly string[]): readonly string[] {
  if (names.length > 0) return names;
  const all = config.components.filter(({ common }) => common.follow).map(({ name }) => name);
  if (all.length > 0) return all;
  throw new Failure('usage', `${config.file}: no component says follow: true`, {
    hint: 'name one, or add follow: true to those whose every moment is to be recoverable',
  });
}

/** A store that is away must not keep a slot from being dropped: none is opened unless its journals are to go. */
async function drop(session: Session, options: Options, names: readonly string[]): Promise<ExitCode> {
  const { ctx } = session;
  if (names.length === 0) throw new Failure('usage', '--drop needs the names of components');
  const config = await session.config();
  const dropped: { name: string; removed: readonly string[]; journals: { store: string; bytes: number }[] }[] = [];
  for (const { name, component } of await openComponents(ctx, config, names)) {
    dropped.push({ name, removed: (await component.unfollow?.(ctx)) ?? [], journals: [] });
  }
  for (const each of options.forgetJournal ? pickStores(config, options.to) : []) {
    await using open = await openStore(ctx, each);
    for (const { name, journals } of dropped) {
      const { bytes } = await open.store.journal(name).forget(ctx);
      journals.push({ store: each.name, bytes });
    }
  }
  const lines = dropped.flatMap(({ name, removed, journals }) => [
    `${name}: ${removed.length === 0 ? 'nothing was kept at the service' : `removed at the service: ${removed.join(', ')}`}`,
    ...journals.map(({ store, bytes }) => `${name}: its journal in ${store} is gone, ${bytesText(bytes)}`),
  ]);
  session.print({ components: dropped }, lines.join('\n'));
  return 0;
}
