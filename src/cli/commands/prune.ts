import type { Command } from 'commander';
import { Failure, messageOf } from '../../core/errors.ts';
import { parseDuration } from '../../core/settings.ts';
import { FOLLOW_PLAN } from '../../engine/follow-views.ts';
import type { KeepRules, RulesOf } from '../../engine/keep.ts';
import { type Pruned, prunePoints } from '../../engine/prune.ts';
import { noteUnreadable, unreadableJson } from '../across.ts';
import type { Config } from '../config/model.ts';
import { perStoreKeep } from '../config/references.ts';
import { namesOption } from '../options.ts';
import { type Bind, errorJson } from '../session.ts';
import { componentsOnDemand, openStack } from '../stack.ts';
import { bytesText, plural, table } from '../terminal.ts';

interface Options {
  readonly apply?: true;
  readonly allowMany?: true;
  readonly store?: readonly string[];
  readonly grace: string;
  readonly wait: string;
}

export function define(command: Command, bind: Bind): void {
  command
    .option('--apply', 'remove them; without it this is a preview')
    .option('--allow-many', 'go on although over half would go, or a clock looks wrong')
    .addOption(namesOption('--store <stores>', 'only these stores'))
    .option('--grace <duration>', 'space is freed this long after it was found unused', '24h')
    .option('--wait <duration>', 'for a backup that uses the store: until then no space can be freed', '0s')
    .addHelpText(
      'after',
      `
Examples:
  lifeboat prune            which points would go, and why the others stay
  lifeboat prune --apply`,
    );
  bind<Options>(command, async (session, options) => {
    const { ctx } = session;
    const config = await session.config();
    const graceMs = durationOf('--grace', options.grace);
    const waitMs = durationOf('--wait', options.wait);
    await using stack = await openStack(ctx, config, { stores: options.store, components: [] });
    // A store that was not asked may still need what lies outside of it: then that waits for a prune of all.
    const componentOf = stack.stores.length === config.stores.length ? componentsOnDemand(ctx, config) : undefined;
    const results: { store: string; pruned: Pruned | null; error: unknown }[] = [];
    for (const store of stack.stores) {
      const request = {
        in: store,
        stack: config.stack,
        rulesOf: rulesFor(config, store.name),
        apply: options.apply === true,
        allowMany: options.allowMany,
        graceMs,
        waitMs,
        stores: stack.stores,
        componentOf,
      };
      try {
        results.push({ store: store.name, pruned: await prunePoints(ctx, request), error: null });
      } catch (error) {
        if (ctx.signal.aborted || (stack.stores.length === 1 && stack.failed.length === 0)) throw error;
        results.push({ store: store.name, pruned: null, error });
      }
    }
    const json = {
      applied: options.apply === true,
      stores: results.map(toJson),
      ...unreadableJson(stack.failed),
    };
    session.print(json, () => results.map(toText).join('\n\n'));
    noteUnreadable(session, stack.failed);
    const whole = stack.failed.length === 0 && results.every(({ pruned }) => pruned && isWhole(pruned));
    return whole ? 0 : 3;
  });
}

/** A journal that is in use is pruned the next time. */
function isWhole({ unreleased, journals }: Pruned): boolean {
  return unreleased.length === 0 && journals.left.every(({ error }) => error.code === 'locked');
}

function durationOf(option: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === null) throw new Failure('usage', `${option} ${text} is no duration such as 24h`);
  return ms;
}

function rulesFor(config: Config, store: string): RulesOf {
  return (plan) => {
    const named = plan === null || !Object.hasOwn(config.plans, plan) ? undefined : config.plans[plan];
    const found = named ?? (plan === FOLLOW_PLAN ? planOfFollowed(config) : undefined);
    if (!found?.keep) return null;
    const rules: Readonly<Record<string, unknown>> = found.keep;
    const own = perStoreKeep(found.keep).length === 0 ? rules : rules[store];
    return own === undefined ? null : { keep: own as KeepRules, timezone: found.timezone };
  };
}

/** The first with a rule that holds for all that are followed: points that follow takes are kept as its own are. */
function planOfFollowed({ plans, components }: Config): Config['plans'][string] | undefined {
  const followed = components.filter(({ common }) => common.follow).map(({ name }) => name);
  return Object.values(plans).find(
    (plan) => plan.keep && (plan.components === 'all' || followed.every((name) => plan.components.includes(name))),
  );
}

function toJson({ store, pruned, error }: { store: string; pruned: Pruned | null; error: unknown }): object {
  if (!pruned) return { store, ...errorJson(error) };
  return {
    store,
    points: pruned.decisions.map(({ point, reasons }) => ({ id: point.id, keep: reasons.length > 0, reasons })),
    removed: pruned.removed,
    unreleased: pruned.unreleased.map(({ point, component, error }) => ({ point, component, ...errorJson(error) })),
    ...(pruned.refusal === null ? {} : { refusal: errorJson(pruned.refusal).error }),
    freed_bytes: pruned.reclaimed.bytes,
    freed_objects: pruned.reclaimed.objects,
    pending_bytes: pruned.reclaimed.pendingBytes,
    pending_objects: pruned.reclaimed.pendingObjects,
    journal_bytes: pruned.journals.bytes,
    journal_objects: pruned.journals.objects,
    journals_left: pruned.journals.left.map(({ component, error }) => ({ component, ...errorJson(error) })),
  };
}

function toText({ store, pruned, error }: { store: string; pruned: Pruned | null; error: unknown }): string {
  if (!pruned) return `${store}: FAILED: ${messageOf(error)}`;
  const { decisions, removed, applied, refusal, reclaimed, journals } = pruned;
  const rows = decisions.map(({ point, reasons }) => [
    point.id,
    reasons.length > 0 ? 'keep' : applied ? 'removed' : 'would go',
    point.plan ?? '',
    reasons.join(', '),
  ]);
  const lines = [
    `${store}: ${plural(decisions.length, 'point')}, ${removed.length} ${applied ? 'removed' : 'would go'}`,
    table(
      ['point', '', 'plan', 'because'].map((title) => ({ title })),
      rows,
    ),
  ];
  if (applied) lines.push(`freed ${bytesText(reclaimed.bytes)}`);
  if (reclaimed.pendingBytes > 0) lines.push(`${bytesText(reclaimed.pendingBytes)} are unused and wait out the grace`);
  if (journals.objects > 0) {
    const what = `${bytesText(journals.bytes)} of journals in ${plural(journals.objects, 'object')}`;
    lines.push(applied ? `freed ${what}` : `${what} would go: no point that stays needs them`);
  }
  for (const { component, error } of journals.left)
    lines.push(`journal of ${component} left as it is: ${error.message}`);
  for (const { point, component, error } of pruned.unreleased) {
    lines.push(`NOT RELEASED: ${component} of ${point}: ${messageOf(error)}; the next prune tries again`);
  }
  if (refusal) lines.push(`would be refused: ${refusal.message}`);
  if (!applied && (removed.length > 0 || journals.objects > 0)) lines.push('this is a preview: add --apply');
  return lines.join('\n');
}
