// Looking around in the past: short commands, from a person at a terminal or from lines of a script, one after another.

import { createInterface } from 'node:readline';
import { outliving, withSignal } from '../core/context.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { nearest, parseDuration } from '../core/settings.ts';
import { type Exploration, explore, type Further, needExplorable } from '../engine/explore.ts';
import type { StackComponent } from '../engine/model.ts';
import { type RestorePlan, type RestoreRequest, retargeted } from '../engine/restore-plan.ts';
import { answerJson, answerText, standJson, standText } from './exploring-views.ts';
import { type ExitCode, errorJson, type Session } from './session.ts';
import { table } from './terminal.ts';
import { parseTime, parseUntil } from './times.ts';

/** It may have much to write before it ends. */
const LEAVE_MS_MAX = 180_000;
const HELP: Readonly<Record<string, string>> = {
  status: 'where it stands, how far what is stored goes, and how to connect',
  'sql SELECT …': 'one query that reads, and its first rows',
  'use DATABASE': 'which database is asked, where there are several',
  '+30s': 'go on by so much: 30s, 5m, 1h',
  'to WHERE': 'go on to 2026-11-21T14:03:27Z, to a place in its log (0/3000060), or to latest; never back',
  promote: 'end the replay here: from now on it takes writes',
  quit: 'stop the server and leave the directory; so do Ctrl-C and the end of the input',
  help: 'this',
};

export interface ExploreOptions {
  readonly explore?: true;
  readonly at?: string;
  readonly until?: string;
  readonly select?: unknown;
  readonly inPlace?: true;
  readonly dropOld?: true;
  readonly rename?: unknown;
}

/** What can be told without a store. */
export function refuseExploring({ explore: asked, at, until, select, inPlace, dropOld, rename }: ExploreOptions): void {
  if (!asked) return;
  const others = { '--select': select, '--in-place': inPlace, '--drop-old': dropOld, '--rename': rename };
  const [other] = Object.entries(others).filter(([, value]) => value !== undefined);
  if (other) throw new Failure('usage', `${other[0]} does not go with --explore, which restores all of it elsewhere`);
  if (at !== undefined || until !== undefined) return;
  throw new Failure('usage', '--explore stands at a moment of the log, and none is named', {
    hint: 'name one in place of the point: --at 2026-11-21T14:03:27Z; or add --until latest to it',
  });
}

/** The one component that is named, before its target is looked at. */
export function refuseUnexplorable(
  components: readonly StackComponent[],
  names: readonly string[],
  to: Readonly<Record<string, string>>,
): void {
  const chosen = components.filter(({ name }) => names.includes(name));
  const [item, ...others] = chosen;
  if (!item || others.length > 0) {
    throw new Failure('usage', `one component is explored at a time, and this is ${chosen.length}`, {
      hint: `name it with --only: ${names.join(', ')}`,
    });
  }
  const target = Object.hasOwn(to, item.name) ? to[item.name] : undefined;
  needExplorable(target === undefined ? item : retargeted(item, target));
}

/** A directory that holds something may have been explored. */
export function exploredBefore(error: unknown): never {
  if (!isFailure(error, 'target-not-empty')) throw error;
  const hint =
    'an exploration that was left is not taken up again: start a server on its directory, begin anew in it with --delta ' +
    '(only what differs is read), or name another directory with --to';
  throw new Failure(error.code, error.message, { cause: error, hint });
}

/** Until it is left. 3 where a line of a script could not be done. */
export async function exploreByLines(session: Session, request: RestoreRequest, plan: RestorePlan): Promise<ExitCode> {
  const { ctx } = session;
  await using exploration = await explore(ctx, request, plan);
  const at: At = { session, exploration, database: undefined, failed: 0, access: '' };
  for (const text of exploration.restored.warnings) session.note(`warning: ${text}`);
  await tellStand(ctx, at, { warnings: exploration.restored.warnings });
  session.note('help lists what can be done here');
  await readLines(at);
  const left = await exploration.leave(outliving(ctx, LEAVE_MS_MAX));
  session.tell({ event: 'left', component: exploration.name, notes: left }, left.join('\n'));
  return at.failed > 0 && !session.interactive ? 3 : 0;
}

interface At {
  readonly session: Session;
  readonly exploration: Exploration;
  /** The one that is asked; undefined as long as there is one only. */
  database: string | undefined;
  failed: number;
  /** How to connect, as it was told last. */
  access: string;
}

/** Ends by 'quit', by the end of the input and by Ctrl-C, also while a command is at work. */
async function readLines(at: At): Promise<void> {
  const { ctx, interactive } = at.session;
  const prompt = `${at.exploration.name}> `;
  const output = interactive ? { output: process.stderr } : {};
  const lines = createInterface({ input: process.stdin, prompt, ...output });
  const leaving = new AbortController();
  const leave = (): void => {
    leaving.abort(new Failure('interrupted', 'stopped on request'));
    lines.close();
  };
  lines.on('SIGINT', leave); // a terminal gives the key to who reads lines, not to us as a signal
  ctx.signal.addEventListener('abort', leave, { once: true });
  if (ctx.signal.aborted) leave();
  const inner = withSignal(ctx, leaving.signal);
  try {
    if (interactive) lines.prompt();
    for await (const line of lines) {
      if (inner.signal.aborted || (await isLast(inner, at, line.trim()))) return;
      if (interactive) lines.prompt();
    }
  } finally {
    ctx.signal.removeEventListener('abort', leave);
    lines.close();
  }
}

async function isLast(ctx: Context, at: At, line: string): Promise<boolean> {
  if (line === 'quit') return true;
  try {
    if (line !== '') await perform(ctx, at, line);
  } catch (error) {
    if (ctx.signal.aborted) return true;
    if (!(error instanceof Failure)) throw error;
    at.failed += 1;
    const { message, hint } = error;
    at.session.tell({ event: 'error', ...errorJson(error) }, `${message}${hint ? `\n  ${hint}` : ''}`);
  }
  return false;
}

async function perform(ctx: Context, at: At, line: string): Promise<void> {
  const { session, exploration } = at;
  const [, word = '', rest = ''] = /^(\S+)\s*([\s\S]*)$/.exec(line) ?? [];
  if (line.startsWith('+')) return await goOn(ctx, at, { byMs: durationIn(line) });
  switch (word) {
    case 'help':
      return session.tell({ event: 'help', commands: HELP }, helpText());
    case 'status':
      return await tellStand(ctx, at, { end: await exploration.endMs(ctx) });
    case 'sql': {
      const answer = await exploration.query(ctx, needed(word, rest), at.database);
      return session.tell(answerJson(answer), answerText(answer));
    }
    case 'use':
      await exploration.query(ctx, 'select 1', needed(word, rest)); // it may not be there yet
      at.database = rest;
      return session.tell({ event: 'using', database: at.database }, `${at.database} is asked from now on`);
    case 'to':
      return await goOn(ctx, at, furtherIn(ctx, needed(word, rest)));
    case 'promote':
      await exploration.promote(ctx);
      return await tellStand(ctx, at, {});
    default:
      throw unknownWord(word);
  }
}

async function goOn(ctx: Context, at: At, further: Further): Promise<void> {
  const { notes } = await at.exploration.goOn(ctx, further);
  await tellStand(ctx, at, { notes });
}

interface Beside {
  readonly warnings?: readonly string[];
  readonly notes?: readonly string[];
  readonly end?: number | null;
}

async function tellStand(ctx: Context, at: At, beside: Beside): Promise<void> {
  const { session, exploration } = at;
  const stand = await exploration.stand(ctx);
  const told = { exploration, stand, ...beside };
  const access = exploration.access().join('\n');
  const isNew = access !== at.access || beside.end !== undefined;
  at.access = access;
  session.tell(standJson(told), standText({ ...told, isAccessShown: isNew }));
}

function helpText(): string {
  return table([{ title: 'command' }, { title: 'what it does' }], Object.entries(HELP));
}

function needed(word: string, rest: string): string {
  if (rest !== '') return rest;
  const form = Object.keys(HELP).find((each) => each.startsWith(`${word} `)) ?? word;
  throw new Failure('usage', `${word} what?`, { hint: form });
}

function durationIn(line: string): number {
  const ms = parseDuration(line.slice(1).trim());
  if (ms !== null && ms > 0) return ms;
  throw new Failure('usage', `${line} is no time to go on by`, { hint: 'write it as +30s, +5m or +1h30m' });
}

/** A place of the log holds a slash, which no time does. */
function furtherIn(ctx: Context, text: string): Further {
  if (text === 'latest') return { until: parseUntil(text), words: text };
  if (text.includes('/')) return { until: parseUntil(`lsn=${text}`), words: text };
  return { at: parseTime(text, ctx.now()) };
}

function unknownWord(word: string): Failure {
  if (/^-\d/.test(word)) {
    return new Failure('usage', `${word}: it never goes back`, {
      hint: 'for an earlier moment restore once more, into another directory',
    });
  }
  if (word.startsWith('\\')) {
    return new Failure('usage', `${word} is a command of psql`, { hint: 'status tells how to connect with that' });
  }
  if (/^(select|with|table|values)$/i.test(word)) {
    return new Failure('usage', `${word} is no command`, { hint: `a query is asked by sql: sql ${word} …` });
  }
  const words = Object.keys(HELP).map((each) => each.split(' ')[0] ?? each);
  const near = nearest(word, words);
  const hint = near ? `did you mean ${near}?` : 'help lists what can be done here';
  return new Failure('usage', `${word} is no command`, { hint });
}
