import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { Failure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { nearest } from '../../core/settings.ts';
import { drillPoint } from '../../engine/drill.ts';
import { drillIds, type Evidence, evidenceMarkdown, lostMs, readEvidence } from '../../engine/evidence.ts';
import type { Moment } from '../../engine/moment.ts';
import { chooseEverywhere, listEverywhere, noteUnreadable, unreadableJson } from '../across.ts';
import type { Config } from '../config/model.ts';
import { type MomentIn, type MomentWords, momentEverywhere, wantedMoment } from '../moments.ts';
import { namesOption } from '../options.ts';
import { needPlaceFor } from '../output.ts';
import { processSandboxes } from '../plugins.ts';
import { type Bind, errorJson, type Session } from '../session.ts';
import { type OpenStack, openStack, pickComponents, referencesIn } from '../stack.ts';
import { durationText, table } from '../terminal.ts';
import { UNTIL } from '../times.ts';

interface Options {
  readonly point?: string;
  readonly at?: string;
  readonly until?: string;
  readonly store?: readonly string[];
  readonly only?: readonly string[];
  readonly evidence?: string;
}

/** Drills of the history that are shown. */
const SHOWN_MAX = 50;

export function define(command: Command, bind: Bind): void {
  command
    .argument('[scenario]', "a drill of the configuration, or 'history'")
    .option('--point <point>', "'latest', 'latest-proved', an id or the beginning of one")
    .option('--at <time>', "each component as it was at this time: '15m ago'")
    .option('--until <where>', `replay the log on the point: ${UNTIL}`)
    .addOption(namesOption('--store <stores>', 'only from these stores'))
    .addOption(namesOption('--only <components>', 'only these components'))
    .option('--evidence <file>', 'write the evidence there too: .json or .md')
    .addHelpText(
      'after',
      `
Examples:
  lifeboat drill                    the latest point, everything
  lifeboat drill weekly             as the configuration says
  lifeboat drill --only main-db --evidence drill.md
  lifeboat drill --at '15m ago'     each component from a point of its own, and its log
  lifeboat drill history`,
    );
  bind<Options>(command, async (session, options, [word]) => {
    if (word === 'history') return await history(session, options);
    const config = await session.config();
    const wish = wishOf(config, options, word);
    if (options.evidence !== undefined) await needPlaceFor(options.evidence, '--evidence');
    const startedMs = session.ctx.monotonicMs();
    await using stack = await openStack(session.ctx, config, { stores: wish.stores });
    const { store, point, moment, unreadable } = await chosenBy(session.ctx, config, stack, wish);
    const { evidence, proved, unrecorded } = await drillPoint(session.ctx, {
      from: store,
      point,
      moment,
      components: stack.components,
      only: wish.only,
      expected: expectedOf(config, point.plan),
      sandboxes: await processSandboxes(),
      scenario: word ?? null,
      chooseMs: session.ctx.monotonicMs() - startedMs,
      parallel: config.parallel,
      references: referencesIn(config),
    });
    if (options.evidence !== undefined) await save(options.evidence, evidence);
    const unrecordedJson = unrecorded === null ? {} : { unrecorded: errorJson(unrecorded).error };
    session.print({ evidence, proved, ...unreadableJson(unreadable), ...unrecordedJson }, () => {
      const lost =
        unrecorded === null ? '' : `\nwarning: the store keeps no record of this drill: ${messageOf(unrecorded)}`;
      return `${evidenceMarkdown(evidence).trimEnd()}${lost}`;
    });
    noteUnreadable(session, unreadable);
    const kitOpens = evidence.kit === null || evidence.kit.verdict === 'pass';
    const whole = unrecorded === null && unreadable.length === 0 && kitOpens;
    return evidence.verdict === 'pass' && evidence.objectives_met !== false && whole ? 0 : 3;
  });
}

interface Wish extends MomentWords {
  readonly stores: readonly string[] | undefined;
  readonly only: readonly string[] | undefined;
}

function wishOf(config: Config, options: Options, name: string | undefined): Wish {
  const scenario = name === undefined ? undefined : config.drills[name];
  if (name !== undefined && (!scenario || !Object.hasOwn(config.drills, name))) {
    const known = [...Object.keys(config.drills), 'history'];
    const near = nearest(name, known);
    throw new Failure('usage', `there is no drill ${name}`, {
      hint: near ? `did you mean ${near}?` : `drills: ${known.join(', ')}`,
    });
  }
  if (options.only) pickComponents(config, options.only);
  const planned = scenario && scenario.components !== 'all' ? scenario.components : undefined;
  const { point, at, until } = options;
  const own = point === undefined && at === undefined && until === undefined;
  return {
    point: own ? scenario?.point : point,
    at: own ? scenario?.at : at,
    until: own ? scenario?.until : until,
    stores: options.store ?? (scenario?.store === undefined ? undefined : [scenario.store]),
    only: options.only ?? planned,
  };
}

async function chosenBy(
  ctx: Context,
  config: Config,
  stack: OpenStack,
  wish: Wish,
): Promise<Pick<MomentIn, 'store' | 'point' | 'unreadable'> & { readonly moment?: Moment }> {
  const components = wish.only ?? config.components.map(({ name }) => name);
  const listing = await listEverywhere(ctx, stack);
  const meant = { stack: config.stack, components, named: wish.only !== undefined };
  const wanted = wantedMoment(ctx, listing, wish, meant);
  if (wanted) return await momentEverywhere(ctx, listing, meant, wanted);
  const { store, chosen, unreadable } = chooseEverywhere(listing, config.stack, { word: wish.point, components });
  return { store, point: chosen.point, unreadable };
}

/**
 * What a point of that plan stands for: all that is configured, but for what only other plans take. What no plan takes
 * belongs to it: nobody else would tell that it is never backed up.
 */
function expectedOf({ plans, components }: Config, plan: string | null): readonly string[] {
  const all = components.map(({ name }) => name);
  const own = plan !== null && Object.hasOwn(plans, plan) ? plans[plan] : undefined;
  if (!own || own.components === 'all') return all;
  const others = Object.values(plans).flatMap((each) =>
    each === own || each.components === 'all' ? [] : each.components,
  );
  return all.filter((name) => own.components.includes(name) || !others.includes(name));
}

async function save(file: string, evidence: Evidence): Promise<void> {
  const text = file.endsWith('.md') ? evidenceMarkdown(evidence) : `${JSON.stringify(evidence, null, 2)}\n`;
  await writeFile(file, text);
}

async function history(session: Session, options: Options): Promise<0 | 3> {
  const config = await session.config();
  await using stack = await openStack(session.ctx, config, { stores: options.store, components: [] });
  const found: Evidence[] = [];
  const unreadable = [...stack.failed];
  for (const { name, store } of stack.stores) {
    try {
      for (const id of (await drillIds(session.ctx, store)).slice(0, SHOWN_MAX)) {
        found.push(await readEvidence(session.ctx, store, id));
      }
    } catch (error) {
      if (session.ctx.signal.aborted || stack.stores.length === 1) throw error;
      unreadable.push({ name, error });
    }
  }
  found.sort((a, b) => (a.started_at < b.started_at ? 1 : -1));
  session.print({ drills: found, ...unreadableJson(unreadable) }, () => {
    if (found.length === 0) return 'no drill yet: run lifeboat drill';
    const lost = (ms: number | null): string => (ms === null ? '' : durationText(ms));
    const rows = found.map((each) => [
      each.drill,
      each.verdict,
      each.point,
      each.store,
      each.rto_ms === null ? 'not recovered' : durationText(each.rto_ms),
      durationText(each.rpo_ms),
      lost(lostMs(each)),
    ]);
    return table(
      ['drill', 'verdict', 'point', 'store', 'took', 'would lose', 'lost by markers'].map((title) => ({ title })),
      rows,
    );
  });
  noteUnreadable(session, unreadable);
  return unreadable.length === 0 ? 0 : 3;
}
