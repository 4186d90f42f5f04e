import type { Command } from 'commander';
import { interruption } from '../../core/context.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import type { FoundMarker } from '../../core/marker.ts';
import { mapBounded } from '../../core/parallel.ts';
import { inTime } from '../../core/times.ts';
import type { StackComponent } from '../../engine/model.ts';
import { type Bind, type ExitCode, errorJson, type Session } from '../session.ts';
import { openComponents } from '../stack.ts';
import { durationText, table } from '../terminal.ts';

interface Options {
  readonly remove?: true;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('[components...]', 'only these; all that are configured when left out')
    .option('--remove', 'remove everything that markers have ever left there')
    .addHelpText(
      'after',
      `
Examples:
  lifeboat markers                    which markers are at which service, from when
  lifeboat markers main-db cache      at these alone
  lifeboat markers --remove           remove them, and what was made for them
`,
    );
  bind<Options>(command, async (session, options, names) => {
    const config = await session.config();
    const all = config.components.map(({ name }) => name);
    const components = await openComponents(session.ctx, config, names.length > 0 ? names : all);
    const marked = components.filter(({ component }) => component.marker && component.unmark);
    if (marked.length === 0) throw new Failure('usage', 'none of these components can be marked');
    return await (options.remove ? remove(session, marked, config.parallel) : show(session, marked, config.parallel));
  });
}

interface Asked<T> {
  readonly item: StackComponent;
  readonly answer: T | null;
  readonly error: unknown;
}

/** One that does not answer says nothing about the others; when none does, it is told as such. */
async function ask<T>(
  { ctx }: Session,
  items: readonly StackComponent[],
  parallel: number,
  question: (item: StackComponent) => Promise<T | null>,
): Promise<readonly Asked<T>[]> {
  const asked = await mapBounded(items, parallel, async (item): Promise<Asked<T>> => {
    try {
      return { item, answer: await question(item), error: null };
    } catch (error) {
      return { item, answer: null, error };
    }
  });
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const failed = asked.filter(({ error }) => error !== null);
  if (failed.length === asked.length) throw failed[0]?.error;
  return asked;
}

async function show(session: Session, items: readonly StackComponent[], parallel: number): Promise<ExitCode> {
  const { ctx } = session;
  const asked = await ask<FoundMarker>(session, items, parallel, async ({ component }) => {
    return (await component.marker?.(ctx)) ?? null;
  });
  const json = asked.map(({ item: { name, markersMs = null }, answer, error }) => ({
    ...{ name, every_ms: markersMs, marker: answer },
    ...(error === null ? {} : errorJson(error)),
  }));
  const nowMs = ctx.now().getTime();
  const rows = asked.map(({ item: { name, markersMs }, answer, error }) => [
    name,
    markersMs === undefined ? 'off' : durationText(markersMs),
    ...(answer ? rowOf(answer, nowMs) : [error === null ? 'none' : `not known: ${messageOf(error)}`, '', '', '']),
  ]);
  const titles = ['component', 'every', 'marker', 'written', 'ago', 'where'];
  session.print({ components: json }, () =>
    table(
      titles.map((title) => ({ title })),
      rows,
    ),
  );
  return asked.every(({ error }) => error === null) ? 0 : 3;
}

function rowOf({ number, at, where }: FoundMarker, nowMs: number): readonly string[] {
  return [String(number), inTime(at), durationText(Math.max(0, nowMs - Date.parse(at))), where];
}

async function remove(session: Session, items: readonly StackComponent[], parallel: number): Promise<ExitCode> {
  const asked = await ask<readonly string[]>(session, items, parallel, async ({ component }) => {
    return (await component.unmark?.(session.ctx)) ?? [];
  });
  const json = asked.map(({ item: { name }, answer, error }) => ({
    ...{ name, removed: answer ?? [] },
    ...(error === null ? {} : errorJson(error)),
  }));
  const lines = asked.flatMap(({ item: { name }, answer, error }) => [
    ...(answer ?? []).map((each) => `${name}: ${each} removed`),
    ...(error === null ? [] : [`${name}: NOT REMOVED: ${messageOf(error)}`]),
  ]);
  session.print({ components: json }, lines.join('\n') || 'there were no markers, so nothing was removed');
  const again = items.filter(({ markersMs }) => markersMs !== undefined).map(({ name }) => name);
  if (again.length > 0) session.note(`following writes them again while markers is set: ${again.join(', ')}`);
  return asked.every(({ error }) => error === null) ? 0 : 3;
}
