// The only place that reads the environment, the clock and signals. Everything below is given a context.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import './loading.ts';
import { interruption, sleep } from '../core/context.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Context, Log } from '../core/model.ts';
import type { Config } from './config/model.ts';
import { jsonProgress, type ProgressView, silentProgress, terminalProgress } from './progress.ts';
import {
  type Action,
  type CommandModule,
  errorJson,
  exitCodeOf,
  type Globals,
  type LogLevel,
  type Session,
} from './session.ts';
import { fieldsText, printableLines } from './terminal.ts';
import { VERSION } from './version.ts';

interface Listed {
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
  /** The one exit code of whatever goes wrong, where that is read by a program that knows none of ours. */
  readonly failsWith?: number;
}
/** Every command, with what `lifeboat --help` says of it. A module is loaded when its command is called. */
const COMMANDS: Readonly<Record<string, Listed>> = {
  init: { summary: 'write lifeboat.yaml and create its stores', load: () => import('./commands/init.ts') },
  doctor: {
    summary: 'check every component and store, and what would go wrong',
    load: () => import('./commands/doctor.ts'),
  },
  lint: { summary: 'say which promises the configuration can not keep', load: () => import('./commands/lint.ts') },
  backup: { summary: 'take one recovery point', load: () => import('./commands/backup.ts') },
  follow: {
    summary: 'ship the logs of components as they grow, until stopped',
    load: () => import('./commands/follow.ts'),
  },
  list: { summary: 'list recovery points', load: () => import('./commands/list.ts') },
  show: { summary: 'show one recovery point', load: () => import('./commands/show.ts') },
  status: {
    summary: 'say what is protected, since when, and what is proved',
    load: () => import('./commands/status.ts'),
  },
  verify: {
    summary: 'check stored points: structure, checksums, all of the data',
    load: () => import('./commands/verify.ts'),
  },
  restore: { summary: 'bring back the stack, or a part of it', load: () => import('./commands/restore.ts') },
  markers: {
    summary: 'show or remove the markers that following leaves in services',
    load: () => import('./commands/markers.ts'),
  },
  extract: { summary: 'bring back single rows, keys or files', load: () => import('./commands/extract.ts') },
  drill: { summary: 'rehearse a recovery in sandboxes and measure it', load: () => import('./commands/drill.ts') },
  prune: { summary: 'remove points that the keep rules no longer want', load: () => import('./commands/prune.ts') },
  copy: { summary: 'copy points from one store to another', load: () => import('./commands/copy.ts') },
  import: { summary: 'read the folders that older scripts wrote', load: () => import('./commands/import.ts') },
  keys: { summary: 'list, add, remove or change passwords of a store', load: () => import('./commands/keys.ts') },
  schedule: { summary: 'print the schedules for cron or systemd', load: () => import('./commands/schedule.ts') },
  config: { summary: 'show the configuration or its JSON Schema', load: () => import('./commands/config.ts') },
  compat: { summary: 'stand in for the scripts of an older plan', load: () => import('./commands/compat.ts') },
  'wal-push': {
    summary: 'store one file of the log of PostgreSQL, as archive_command',
    load: () => import('./commands/wal-push.ts'),
  },
  'wal-fetch': {
    summary: 'give PostgreSQL one file of its log, as restore_command',
    load: () => import('./commands/wal-fetch.ts'),
    failsWith: 255, // PostgreSQL takes what is not larger than 125 for the end of its log
  },
  completion: { summary: 'print a completion script for a shell', load: () => import('./commands/completion.ts') },
};

/** A lost terminal is a reason to stop cleanly too. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** bin/lifeboat's own value, for this process only: what it starts gets the user's, if there is one. */
const MALLOC = { variable: 'MALLOC_MMAP_THRESHOLD_', ours: '1048576' };

/** Global options whose value is the next word. */
const VALUED: readonly string[] = ['--config', '--log-level', '--progress'];

/** What is known of a run before it has ended. */
interface Running {
  globals: Globals;
  /** The words that name it, as in 'keys add'; none as long as there is no such command. */
  command: readonly string[];
  /** What --json prints when all is done. */
  result: object | null;
  /** Of whatever goes wrong. */
  failsWith?: number | undefined;
}

async function main(argv: readonly string[]): Promise<number> {
  const running: Running = { globals: { json: argv.includes('--json'), logLevel: 'warn' }, command: [], result: null };
  try {
    const exitCode = await dispatch(argv, running);
    if (running.result) process.stdout.write(jsonText(running.result, 2));
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    if (error instanceof CommanderError && error.code === 'commander.help') return running.failsWith ?? 2; // it was shown
    const shown = error instanceof CommanderError ? usageFailure(error, running.command) : error;
    report(shown, running);
    return running.failsWith ?? exitCodeOf(shown);
  }
}

async function dispatch(argv: readonly string[], running: Running): Promise<number> {
  let exitCode = 0;
  const program = withGlobals(new Command('lifeboat'))
    .description('Disaster recovery for self-hosted stacks: backups that prove themselves.')
    .version(VERSION, '-V, --version')
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 usage, 3 incomplete or with findings, 10 and up: see docs/errors.md',
    );
  const wanted = commandIn(argv);
  for (const [name, { summary, load, failsWith }] of Object.entries(COMMANDS)) {
    const command = withGlobals(new Command(name)).description(summary).exitOverride().showSuggestionAfterError(true);
    program.addCommand(command.copyInheritedSettings(program));
    if (name !== wanted) continue;
    running.command = [name];
    running.failsWith = failsWith;
    const { define } = await load();
    define(command, (target, action) => {
      for (const each of [target, ...target.commands]) withGlobals(each).copyInheritedSettings(program);
      target.action(async () => {
        const globals = target.optsWithGlobals() as Globals;
        running.globals = globals;
        exitCode = await perform(running, (session) =>
          (action as Action<unknown>)(session, target.opts(), target.args),
        );
      });
    });
    const own = command.commands.map((each) => each.name()).find((each) => wordsIn(argv)[1] === each);
    if (own !== undefined) running.command = [name, own];
  }
  await program.parseAsync([...argv], { from: 'user' });
  return exitCode;
}

/** `lifeboat help backup` means backup, too. */
function commandIn(argv: readonly string[]): string | undefined {
  const words = wordsIn(argv);
  const named = words[0] === 'help' ? words[1] : words[0];
  return named !== undefined && Object.hasOwn(COMMANDS, named) ? named : undefined;
}

function wordsIn(argv: readonly string[]): readonly string[] {
  return argv.filter((word, at) => !word.startsWith('-') && !VALUED.includes(argv[at - 1] ?? ''));
}

function withGlobals(command: Command): Command {
  if (command.options.some(({ long }) => long === '--json')) return command;
  return command
    .option('--config <file>', 'the configuration (default: ./lifeboat.yaml, then /etc/lifeboat/lifeboat.yaml)')
    .option('--json', 'print one JSON document, failures included', false)
    .addOption(new Option('--log-level <level>', 'what goes to the log').choices(LEVELS).default('warn'))
    .addOption(new Option('--progress <form>', 'progress on standard error').choices(['json', 'none']));
}

/** Runs an action with a real context; Ctrl-C aborts it once and kills it when pressed again. */
async function perform(running: Running, action: (session: Session) => Promise<number>): Promise<number> {
  const { globals } = running;
  const controller = new AbortController();
  const view = progressView(globals);
  const onSignal = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(130);
    view.clear();
    if (!globals.json) process.stderr.write(`\n${signal}: stopping cleanly; once more to stop at once\n`);
    controller.abort(
      new Failure('interrupted', `stopped by ${signal}`, { hint: 'run the same command again to go on' }),
    );
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  const scratch = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), 'lifeboat-'));
  const ctx = realContext(controller.signal, scratch, view, globals);
  try {
    return await action(session(ctx, running, view));
  } catch (error) {
    const knowsNext = isFailure(error, 'interrupted') && error.hint !== undefined;
    if (!controller.signal.aborted || knowsNext) throw error;
    throw interruption(controller.signal);
  } finally {
    view.clear();
    rmSync(scratch, { recursive: true, force: true });
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

function realContext(signal: AbortSignal, scratch: string, view: ProgressView, globals: Globals): Context {
  return {
    signal,
    now: () => new Date(),
    monotonicMs: () => performance.now(),
    sleep,
    progress: (event) => view.show(event),
    log: logger(globals, view),
    env: process.env,
    scratch,
  };
}

function session(ctx: Context, running: Running, view: ProgressView): Session {
  const { globals } = running;
  let loaded: Promise<Config> | undefined;
  return {
    ctx,
    globals,
    interactive: process.stdin.isTTY === true && process.stderr.isTTY === true && !globals.json,
    config() {
      loaded ??= import('./config/load.ts').then(({ loadConfig }) => loadConfig(ctx, globals.config));
      return loaded;
    },
    print(json, text) {
      view.clear();
      if (globals.json) running.result = json;
      else process.stdout.write(`${printableLines(typeof text === 'string' ? text : text())}\n`);
    },
    tell(json, text) {
      view.clear();
      process.stdout.write(globals.json ? jsonText(json, 0) : `${printableLines(text)}\n`);
    },
    note(text) {
      if (globals.json) return;
      view.clear();
      process.stderr.write(`${printableLines(text)}\n`);
    },
  };
}

function progressView(globals: Globals): ProgressView {
  if (globals.progress === 'json')
    return jsonProgress(
      (text) => void process.stderr.write(text),
      () => new Date(),
    );
  if (globals.progress === 'none' || globals.json || !process.stderr.isTTY) return silentProgress;
  return terminalProgress(process.stderr, () => performance.now());
}

function logger(globals: Globals, view: ProgressView): Log {
  const least = LEVELS.indexOf(globals.logLevel);
  const writer =
    (level: LogLevel) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      if (LEVELS.indexOf(level) < least) return;
      view.clear();
      const line = globals.json
        ? JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })
        : `${level}: ${message}${fieldsText(fields)}`;
      process.stderr.write(`${printableLines(line)}\n`);
    };
  return { debug: writer('debug'), info: writer('info'), warn: writer('warn'), error: writer('error') };
}

function usageFailure(error: CommanderError, command: readonly string[]): Failure {
  const [message = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = rest.join(' ').replace(/^\((.*)\)$/, '$1');
  return new Failure('usage', message.trim(), {
    hint:
      suggestion === ''
        ? `run ${['lifeboat', ...command, '--help'].join(' ')}`
        : suggestion.charAt(0).toLowerCase() + suggestion.slice(1),
  });
}

/** JSON leaves some controls as they are. */
function jsonText(value: object, indent: number): string {
  return `${printableLines(JSON.stringify(value, null, indent))}\n`;
}

function report(error: unknown, { globals, result }: Running): void {
  if (globals.json) {
    const json = errorJson(error);
    process.stdout.write(result ? jsonText({ ...result, ...json }, 2) : jsonText(json, 0));
    return;
  }
  const { code, message, hint } = errorJson(error).error;
  const stack = error instanceof Error ? error.stack : '';
  const trace = code === 'internal' ? `${stack}\n  this is a defect of Lifeboat\n` : '';
  process.stderr.write(printableLines(`lifeboat: ${message}\n${hint ? `  ${hint}\n` : ''}${trace}`));
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // The reader has seen enough, as in `lifeboat list | head`: what was begun is still done to its end.
    if (error.code !== 'EPIPE' && error.code !== 'ERR_STREAM_DESTROYED') throw error;
  });
}
if (process.env[MALLOC.variable] === MALLOC.ours) delete process.env[MALLOC.variable];
process.exitCode = await main(process.argv.slice(2));
