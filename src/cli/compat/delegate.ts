// Runs other commands of ours as a script's steps: what they print is one JSON document or their texts in turn.

import { Command } from 'commander';
import type { Action, CommandModule, ExitCode, Session } from '../session.ts';

const COMMANDS = {
  backup: (): Promise<CommandModule> => import('../commands/backup.ts'),
  drill: (): Promise<CommandModule> => import('../commands/drill.ts'),
  prune: (): Promise<CommandModule> => import('../commands/prune.ts'),
  restore: (): Promise<CommandModule> => import('../commands/restore.ts'),
  verify: (): Promise<CommandModule> => import('../commands/verify.ts'),
} as const;

export interface Step {
  readonly command: string;
  readonly exitCode: ExitCode;
  readonly result: unknown;
}
export interface Steps {
  /** Throws what the command throws. */
  run(command: keyof typeof COMMANDS, args: readonly string[], session?: Session): Promise<Step>;
  /** Prints the one document that `--json` promises. */
  finish(): void;
}

export function stepsOf(session: Session): Steps {
  const done: Step[] = [];
  return {
    async run(command, args, own = session) {
      let result: unknown = null;
      const inner: Session = {
        ...own,
        print(json, text) {
          result = json;
          if (!own.globals.json) own.print(json, text);
        },
      };
      const step = { command, exitCode: await perform(await COMMANDS[command](), inner, args), result };
      done.push(step);
      return step;
    },
    finish() {
      if (session.globals.json)
        session.print(
          { steps: done.map(({ command, exitCode, result }) => ({ command, exit_code: exitCode, result })) },
          '',
        );
    },
  };
}

async function perform(module: CommandModule, session: Session, args: readonly string[]): Promise<ExitCode> {
  const command = new Command().exitOverride();
  let exitCode: ExitCode = 0;
  module.define(command, (target, action) => {
    target.action(async () => {
      exitCode = await (action as Action<unknown>)(session, target.opts(), target.args);
    });
  });
  await command.parseAsync([...args], { from: 'user' });
  return exitCode;
}
