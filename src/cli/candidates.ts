// What could stand where the cursor is: the words of a command line, for the completion of shells.

import { stat } from 'node:fs/promises';
import { Command, type Option } from 'commander';
import { withDeadline } from '../core/context.ts';
import type { Context } from '../core/model.ts';
import { listEverywhere, pointsOf } from './across.ts';
import { loadConfig } from './config/load.ts';
import type { Config } from './config/model.ts';
import type { CommandModule, Session } from './session.ts';
import { isNearby, openStack } from './stack.ts';

/** Nobody waits longer for a list of points. */
const POINTS_DEADLINE_MS = 3_000;
const POINTS_MAX = 50;

/** `typed` ends with the word at the cursor, which may be empty. No candidate means that a file may be meant. */
export async function candidates(
  session: Session,
  root: Command,
  typed: readonly string[],
): Promise<readonly string[]> {
  const before = typed.slice(0, -1);
  const current = typed.at(-1) ?? '';
  const command = await commandOf(root, before);
  const options = [...(command ?? root).options, ...root.options];
  const last = before.at(-1) ?? '';
  const option = options.find(({ long, required, optional }) => long === last && (required || optional));
  const own = withTyped(session, before);
  if (option) return listed(current, await valuesOf(own, option));
  if (current.startsWith('-')) return options.flatMap(({ long, hidden }) => (long && !hidden ? [long] : []));
  if (!command) return namesOf(root);
  if (command.commands.length > 0) return namesOf(command);
  const kinds = command.registeredArguments.map((argument) => [argument.name(), argument.argChoices ?? []] as const);
  const [kind, choices] = kinds[0] ?? ['', []];
  return [...choices, ...(await named(own, kind))];
}

/** With the configuration that the command line names. */
function withTyped(session: Session, before: readonly string[]): Session {
  const at = before.indexOf('--config');
  return at < 0 ? session : { ...session, config: () => loadConfig(session.ctx, before[at + 1]) };
}

/** The command that was typed, or its subcommand, with the options that it declares. */
async function commandOf(root: Command, before: readonly string[]): Promise<Command | null> {
  const name = before.find((word) => root.commands.some((each) => each.name() === word));
  if (name === undefined) return null;
  const module = (await import(`./commands/${name}.ts`)) as CommandModule;
  const command = new Command(name);
  module.define(command, () => undefined);
  return command.commands.find((each) => before.includes(each.name())) ?? command;
}

function namesOf({ commands }: Command): readonly string[] {
  return commands.map((each) => each.name()).filter((name) => name !== 'words');
}

/** What an option takes is told by its placeholder: '--only <components>'. */
async function valuesOf(session: Session, option: Option): Promise<readonly string[]> {
  if (option.argChoices) return option.argChoices;
  const [, kind = ''] = /[<[]([a-z]+)[>\]]/.exec(option.flags) ?? [];
  return await named(session, kind);
}

async function named(session: Session, kind: string): Promise<readonly string[]> {
  if (!Object.hasOwn(KINDS, kind)) return [];
  try {
    return (await KINDS[kind]?.(session)) ?? [];
  } catch {
    return []; // without a configuration or a store there is nothing to offer, and a prompt is no place to say why
  }
}

const KINDS: Readonly<Record<string, (session: Session) => Promise<readonly string[]>>> = {
  component: componentNames,
  components: componentNames,
  store: storeNames,
  stores: storeNames,
  plan: async (session) => Object.keys((await session.config()).plans),
  scenario: async (session) => ['history', ...Object.keys((await session.config()).drills)],
  point: (session) => pointIds(session.ctx, session),
  points: (session) => pointIds(session.ctx, session),
  rules: async () => (await import('../engine/lint/lint.ts')).RULE_WORDS,
};

async function componentNames(session: Session): Promise<readonly string[]> {
  return (await session.config()).components.map(({ name }) => name);
}

async function storeNames(session: Session): Promise<readonly string[]> {
  return (await session.config()).stores.map(({ name }) => name);
}

async function pointIds(ctx: Context, session: Session): Promise<readonly string[]> {
  const config = await session.config();
  const ids = (await isTrusted(config)) ? await idsNearby(ctx, config) : [];
  return ['latest', 'latest-proved', ...ids.slice(-POINTS_MAX).toReversed()];
}

/**
 * Whoever presses TAB has run nothing yet: a file that lies here by chance must not have secrets read and tried. It is
 * trusted when it belongs to this user, or root, and only its owner may write to it: a group may be anybody's.
 */
async function isTrusted({ file }: Config): Promise<boolean> {
  const found = await stat(file);
  const isOurs = found.uid === 0 || found.uid === process.getuid?.();
  return found.isFile() && isOurs && (found.mode & 0o022) === 0;
}

async function idsNearby(ctx: Context, config: Config): Promise<readonly string[]> {
  const nearby = { ...config, stores: config.stores.filter(isNearby) };
  return await withDeadline(ctx, POINTS_DEADLINE_MS, 'listing points', async (limited) => {
    await using stack = await openStack(limited, nearby, { components: [] });
    return pointsOf(await listEverywhere(limited, stack)).map(({ point }) => point.id);
  }).catch(() => []); // the words stay
}

/** 'a,b' goes on behind its last comma. */
function listed(current: string, names: readonly string[]): readonly string[] {
  const begun = current.slice(0, current.lastIndexOf(',') + 1);
  return names.filter((name) => !begun.split(',').includes(name)).map((name) => begun + name);
}
