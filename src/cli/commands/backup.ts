import type { Command } from 'commander';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import { manifestJson } from '../../core/manifest.ts';
import type { Context } from '../../core/model.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { nearest } from '../../core/settings.ts';
import { type BackedUp, backUp } from '../../engine/backup.ts';
import type { SlotHolder } from '../../engine/slot-holder.ts';
import { lastSlot, type Timetable } from '../../engine/slots.ts';
import type { Config } from '../config/model.ts';
import { planHooks } from '../hooks.ts';
import { namesOption } from '../options.ts';
import { type Bind, errorJson } from '../session.ts';
import { openOthers, openStack, orderingOf } from '../stack.ts';
import { bytesText, durationText, plural } from '../terminal.ts';
import { componentTable, pointBytes, setIn } from '../views.ts';

interface Options {
  readonly plan?: string;
  readonly to?: readonly string[];
  readonly test?: true;
  readonly scheduled?: true;
  readonly resume?: string;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('[components...]', 'only these components')
    .option('--plan <plan>', 'the components and stores that this plan of the configuration names')
    .addOption(namesOption('--to <stores>', 'only to these stores'))
    .option('--test', 'do everything but keep the point; what a restic store then holds goes with a prune a week later')
    .option('--scheduled', "run the plan's last scheduled time, whose id the point gets, unless that was run already")
    .option('--resume <id>', 'go on with a run that was killed: what it finished is not captured again')
    .addHelpText(
      'after',
      `
Examples:
  lifeboat backup                      everything, to every store
  lifeboat backup --plan nightly       as the plan says
  lifeboat backup main-db --to local   one component, one store`,
    );
  bind<Options>(command, async (session, options, components) => {
    const { ctx } = session;
    const config = await session.config();
    const wish = wishOf(ctx, config, options, components);
    await using stack = await openStack(ctx, config, wish);
    await using others = await openOthers(ctx, config, stack);
    const done = await backUp(ctx, {
      stack: config.stack,
      plan: options.plan ?? null,
      version: config.version ?? null,
      components: stack.components,
      stores: stack.stores,
      unopened: stack.failed,
      others: others.stores,
      slot: wish.slot,
      timetable: wish.timetable,
      test: options.test,
      resume: options.resume,
      parallel: config.parallel,
      hooks: planHooks(config, options.plan),
      after: orderingOf(config, options.plan),
    });
    const { point, holder } = done;
    if (holder) {
      const { id, state } = holder;
      session.print({ point: null, slot_held_by: { point: id, state } }, heldText(options.plan, holder));
      return 0;
    }
    if (point === null) throw nothingCaptured(done);
    const added = new Map(stack.stores.map(({ name, writtenBytes }) => [name, writtenBytes()]));
    session.print(toJson(done, point, added), () => toText(done, point, added));
    return done.complete ? 0 : 3;
  });
}

interface Wish {
  readonly components: readonly string[] | 'all';
  readonly stores: readonly string[] | undefined;
  readonly slot?: Date;
  readonly timetable?: Timetable;
}

function wishOf(ctx: Context, config: Config, options: Options, components: readonly string[]): Wish {
  if (options.plan === undefined) {
    if (options.scheduled) throw new Failure('usage', '--scheduled needs --plan');
    return { components: components.length === 0 ? 'all' : components, stores: options.to };
  }
  const plan = Object.hasOwn(config.plans, options.plan) ? config.plans[options.plan] : undefined;
  if (!plan) {
    const near = nearest(options.plan, Object.keys(config.plans));
    const hint = near ? `did you mean ${near}?` : `plans: ${Object.keys(config.plans).join(', ') || 'none'}`;
    throw new Failure('usage', `there is no plan ${options.plan}`, { hint });
  }
  const wish = { components: components.length === 0 ? plan.components : components, stores: options.to ?? plan.to };
  if (!options.scheduled) return wish;
  const { schedule, timezone } = plan;
  if (schedule === undefined) throw new Failure('usage', `plan ${options.plan} has no schedule`);
  return { ...wish, slot: lastSlot(schedule, timezone, ctx.now()), timetable: { schedule, timezone } };
}

function heldText(plan: string | undefined, { id, state }: SlotHolder): string {
  const again = `for another point now: lifeboat backup --plan ${plan}`;
  return state === 'done'
    ? `nothing to do: point ${id} is of this scheduled time already (${again})`
    : `nothing to do: a run that is going on, or whose machine is not this one, has this scheduled time: ${id} (${again})`;
}

function nothingCaptured(done: BackedUp): Failure {
  const list = done.failures.map(({ component, error }) => {
    return `${component}: ${isFailure(error) ? `${error.code}: ` : ''}${messageOf(error)}`;
  });
  const message = `no component could be captured, so there is no point\n  ${list.join('\n  ')}`;
  return new Failure('nothing-captured', message, { hint: nextSteps(done).join('\n  ') || 'run lifeboat doctor' });
}

/** What to do about each component and store that failed, where its failure says so. */
function nextSteps({ failures, stores }: BackedUp): string[] {
  const all = [...failures.map(({ component, error }) => ({ name: component, error })), ...stores];
  return all.flatMap(({ name, error }) => (isFailure(error) && error.hint ? [`${name}: ${error.hint}`] : []));
}

function toJson(done: BackedUp, point: RecoveryPoint, added: ReadonlyMap<string, number>): object {
  return {
    point: manifestJson(point),
    kept: done.kept,
    complete: done.complete,
    failures: done.failures.map(({ component, error }) => ({ component, ...errorJson(error) })),
    stores: done.stores.map(({ name, error }) => ({
      name,
      stored_bytes: error === null ? (added.get(name) ?? null) : null,
      ...(error === null ? {} : errorJson(error)),
    })),
    copied: done.copied.map(({ error, ...each }) => ({ ...each, ...(error === null ? {} : errorJson(error)) })),
    hooks: done.hooks.map(({ of, hook, error }) => ({ of, hook, ...errorJson(error) })),
    warnings: done.warnings,
  };
}

function toText(done: BackedUp, point: RecoveryPoint, added: ReadonlyMap<string, number>): string {
  const took = durationText(Date.parse(point.finishedAt) - Date.parse(point.startedAt));
  const lines = [
    `${done.kept ? 'recovery point' : 'tested, not kept:'} ${point.id}, ${point.status}, in ${took}, skew ${durationText(point.skewMs)}`,
    '',
    componentTable(point),
    '',
  ];
  for (const { name, error } of done.stores) {
    const stored = added.get(name);
    const text = `${stored === undefined ? 'unknown' : bytesText(stored)} stored of ${bytesText(pointBytes(point))} read`;
    lines.push(error === null ? `${name}: ${text}` : `${name}: FAILED: ${messageOf(error)}`);
  }
  for (const { point: id, to, error } of done.copied) {
    lines.push(
      error === null
        ? `${to}: ${id} copied, it was missing there`
        : `${to}: ${id} is still missing: ${messageOf(error)}`,
    );
  }
  const warnings = [
    ...done.warnings,
    ...Object.entries(point.components).flatMap(([name, each]) => each.warnings.map((text) => `${name}: ${text}`)),
  ];
  if (warnings.length > 0)
    lines.push('', plural(warnings.length, 'warning'), ...warnings.map((text) => `  ${setIn(text)}`));
  for (const { of, hook, error } of done.hooks) lines.push(`HOOK FAILED: ${of}: ${hook}: ${messageOf(error)}`);
  if (!done.complete) lines.push('', 'INCOMPLETE: what is marked above is missing');
  lines.push(...nextSteps(done).map((step) => `  ${step}`));
  return lines.join('\n');
}
