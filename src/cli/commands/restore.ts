import type { Command } from 'commander';
import { ERRORS, Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Moment } from '../../engine/moment.ts';
import { type RestoredPoint, restorePoint } from '../../engine/restore.ts';
import {
  byPoint,
  type Ended,
  needChosen,
  planRestore,
  type RestorePlan,
  type RestoreRequest,
  refuseTargets,
  retargeted,
} from '../../engine/restore-plan.ts';
import { pointNeed } from '../../engine/thaw.ts';
import { chooseEverywhere, listEverywhere, noteUnreadable } from '../across.ts';
import type { Config } from '../config/model.ts';
import { confirm } from '../confirm.ts';
import { exploreByLines, exploredBefore, refuseExploring, refuseUnexplorable } from '../exploring.ts';
import { fetchedLater } from '../fetching.ts';
import { type MomentIn, type MomentWords, momentEverywhere, momentWords, wantedMoment } from '../moments.ts';
import { namesOption, repeatedOption } from '../options.ts';
import { planJson, planText, restoredJson, restoredText } from '../restore-views.ts';
import { renamesOf, SELECTABLE, selectionOf } from '../selecting.ts';
import type { Bind, Session } from '../session.ts';
import { type OpenStack, openOthers, openStack, pickComponents, pickStores, referencesIn } from '../stack.ts';
import { targetsOf } from '../targets.ts';
import { confirmThaw, type Later, type ThawOptions, thaw, thawStores, tierOf } from '../thaw.ts';
import { UNTIL } from '../times.ts';

interface Options extends ThawOptions {
  readonly at?: string;
  readonly until?: string;
  readonly explore?: true;
  readonly only?: readonly string[];
  readonly to?: readonly string[];
  readonly select?: readonly string[];
  readonly store?: readonly string[];
  readonly preview?: true;
  readonly inPlace?: true;
  readonly terminateConnections?: true;
  readonly dropOld?: true;
  readonly jobs?: string;
  readonly rename?: readonly string[];
  readonly delta?: true;
}

const EXAMPLES = `
Examples:
  lifeboat restore latest --preview
  lifeboat restore latest --yes
  lifeboat restore --at '2h ago' --only main-db --to 'main-db=postgresql://me:\${env:STAGING}@staging.internal/shop'
  lifeboat restore --at 2026-11-21T14:03:27Z --preview   how near each component comes to it
  lifeboat restore latest --until latest --yes           all that was stored of what is followed
  lifeboat restore --at 2026-11-21T14:02:50Z --only main-db --to main-db=/new/directory --explore
                                                         PostgreSQL, to find the last good moment by queries
  lifeboat restore latest --in-place --only main-db      the old database is kept beside it
  lifeboat restore --drop-old --only main-db             … until you say so
  lifeboat restore latest --only events --rename orders=orders-restored --select topic=orders
  lifeboat restore latest --thaw standard --wait         from an archive such as Glacier`;

export function define(command: Command, bind: Bind): void {
  command
    .argument('[point]', "'latest', 'latest-proved', an id or the beginning of one")
    .option('--at <time>', "everything as it was at this time: '2026-11-21T14:03:27Z' or '15m ago'")
    .option('--until <where>', `replay the log on the point: ${UNTIL}`)
    .addOption(namesOption('--only <components>', 'only these components'))
    .addOption(repeatedOption('--to <component=target>', 'into another target: main-db=postgresql://staging/shop'))
    .addOption(repeatedOption('--select <what=name>', `a part: ${SELECTABLE}`))
    .addOption(namesOption('--store <stores>', 'only from these stores'))
    .option('--explore', 'start a server that stands at that moment: look around, go on, promote')
    .option('--preview', 'show what would happen; change nothing')
    .option('--in-place', 'replace the data that is there, once what comes back was compared')
    .option('--terminate-connections', 'end sessions that stand in the way of a swap')
    .option('--drop-old', 'restore nothing; remove the old data that restores in place have kept')
    .addOption(repeatedOption('--rename <old=new>', 'within one component: another bucket, index, topic or root'))
    .option('--delta', 'only what differs from the data that is there')
    .option('--jobs <n>', 'parallel jobs within a component')
    .option('--thaw <tier>', 'ask S3 for archived data first: expedited, standard or bulk')
    .option('--wait', 'with --thaw: wait until it is back, then restore')
    .option('--yes', 'do not ask')
    .addHelpText('after', EXAMPLES);
  bind<Options>(command, async (session, options, [word]) => {
    const config = await session.config();
    if (options.dropOld && options.preview) throw new Failure('usage', '--drop-old has no preview');
    refuseExploring(options);
    tierOf(options);
    if (options.only) pickComponents(config, options.only);
    const stores = pickStores(config, options.store);
    const notYet = options.preview ? null : await thawStores(session, stores, options);
    if (notYet) {
      session.print(notYet.json, notYet.text);
      return 3;
    }
    await using stack = await openStack(session.ctx, config, { stores: options.store });
    if (options.dropOld) return await dropOld(session, stack, options);
    const choice = await chosenBy(
      session,
      config,
      stack,
      { point: word, at: options.at, until: options.until },
      options,
    );
    const { store, unreadable } = choice;
    const { targets, warnings } = await targetsOf(session.ctx, options.to ?? []);
    if (options.explore) {
      const names = options.only ?? [...(choice.moment?.origins.keys() ?? [])];
      refuseUnexplorable(stack.components, names, targets);
    }
    const request = { ...requestOf(options, stack, choice, config), to: targets, references: referencesIn(config) };
    // Who explores is handed the log by this process.
    const planned = await planRestore(session.ctx, options.explore ? { ...request, moment: choice.moment } : request);
    const plan = { ...planned, warnings: [...warnings, ...planned.warnings] };
    if (options.preview) {
      session.print(planJson(plan, choice), () => planText(plan, store.name));
      noteUnreadable(session, unreadable);
      const asIs = plan.steps.every(({ problem }) => problem === null) && !plan.archived && plan.lacking.length === 0;
      return asIs && unreadable.length === 0 ? 0 : 3;
    }
    session.note(planText(plan, store.name));
    noteUnreadable(session, unreadable);
    const later = await thawFirst(session, plan, request, options).catch(options.explore && exploredBefore);
    if (later) {
      session.print({ point: plan.point.id, ...later.json }, later.text);
      return 3;
    }
    if (options.explore) return await exploreByLines(session, request, { ...plan, archived: null });
    await using aside = await openOthers(session.ctx, config, stack);
    const asked = { ...request, others: [...stack.stores, ...aside.stores] };
    const { restored, hint } = await restoreOrSayHow(
      session.ctx,
      options,
      asked,
      { ...plan, archived: null },
      choice.again,
    );
    session.print({ ...restoredJson(restored, choice), hint }, () => restoredText(restored, targets, hint));
    return restored.complete && unreadable.length === 0 ? 0 : 3;
  });
}

/** A restore that broke off does not go on by the same command: its targets are no longer empty. */
export async function restoreOrSayHow(
  ctx: Context,
  options: Options,
  request: RestoreRequest,
  plan: RestorePlan,
  again = `for point ${plan.point.id} with --store ${request.from.name}`,
): Promise<{ readonly restored: RestoredPoint; readonly hint: string | undefined }> {
  // What is there now is ours to replace only where nothing was seen beforehand, and nothing came there since.
  const left = new Set(plan.steps.filter(({ problem }) => problem === null).map(({ name }) => name));
  const onEnd = ({ name, verdict, error }: Ended): void => {
    if ((error === null && verdict !== 'fail') || isFailure(error, 'target-not-empty')) left.delete(name);
  };
  const hintAfter = (errors: readonly unknown[]): string | undefined => {
    if (!errors.some(mayPass) || options.inPlace || left.size === 0) return undefined;
    if (options.select) return 'remove what has come into the target so far, then run the same command again';
    const how = `${again} ${options.delta ? '' : '--in-place '}--only ${[...left].join(',')}`;
    return `what has come back so far stays; go on with the same command ${how}`;
  };
  try {
    const restored = await restorePoint(ctx, { ...request, onEnd }, plan);
    return { restored, hint: hintAfter(restored.outcomes.map(({ error }) => error)) };
  } catch (error) {
    const hint = hintAfter([error]);
    if (!isFailure(error) || hint === undefined) throw error;
    const hints = error.hint === undefined || error.code === 'interrupted' ? [hint] : [error.hint, hint];
    throw new Failure(error.code, error.message, { cause: error, hint: hints.join('; ') });
  }
}

/** What only waited for another says nothing about that one. */
function mayPass(error: unknown): boolean {
  return isFailure(error) && error.code !== 'blocked' && ERRORS[error.code].retry;
}

interface Choice extends Pick<MomentIn, 'store' | 'unreadable' | 'point'> {
  readonly moment?: Moment;
  /** What another command says to mean the same. */
  readonly again: string;
}

/** A point as it is, or a moment, for which each component has a point of its own. */
async function chosenBy(
  session: Session,
  config: Config,
  stack: OpenStack,
  words: MomentWords,
  { only }: Options,
): Promise<Choice> {
  const { ctx } = session;
  if (words.point === undefined && words.at === undefined && words.until === undefined) {
    throw new Failure('usage', 'which point? none was named', {
      hint: 'name it before the options: lifeboat restore latest --only main-db; or --at TIME',
    });
  }
  // A point of a smaller plan may be newer: it is not what "everything" means.
  const components = only ?? config.components.map(({ name }) => name);
  const wish = { stack: config.stack, components, named: only !== undefined };
  const listing = await listEverywhere(ctx, stack);
  const wanted = wantedMoment(ctx, listing, words, wish);
  if (wanted) {
    const found = await momentEverywhere(ctx, listing, wish, wanted);
    return { ...found, again: `with ${momentWords(wanted, found.store)}` };
  }
  const { store, chosen, unreadable } = chooseEverywhere(listing, config.stack, { word: words.point, components });
  for (const id of chosen.passedOver) session.note(`point ${id} is newer but lacks some of the components`);
  const { point } = chosen;
  return { store, point, unreadable, again: `for point ${point.id} with --store ${store.name}` };
}

function requestOf(
  options: Options,
  stack: OpenStack,
  { store, point, moment }: Choice,
  { file, parallel, stores }: Config,
): RestoreRequest {
  const transient = stores.filter((each) => each.transient).map(({ name }) => name);
  return {
    from: store,
    point,
    moment: moment && fetchedLater(moment, { file, stores }, store.name, stack.components),
    components: stack.components,
    only: options.only,
    select: options.select && selectionOf(options.select),
    inPlace: options.inPlace,
    terminateConnections: options.terminateConnections,
    rename: options.rename && renamesOf(options.rename),
    delta: options.delta,
    safety: stack.stores.filter(({ name }) => !transient.includes(name)),
    jobs: options.jobs === undefined ? undefined : jobsOf(options.jobs),
    parallel,
  };
}

function jobsOf(text: string): number {
  const jobs = Number(text);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= 64) return jobs;
  throw new Failure('usage', `--jobs ${text} is no number from 1 to 64`);
}

async function dropOld(session: Session, stack: OpenStack, options: Options): Promise<0> {
  const chosen = stack.components.filter(({ name }) => options.only === undefined || options.only.includes(name));
  const { targets, warnings } = await targetsOf(session.ctx, options.to ?? []);
  needChosen(
    Object.keys(targets),
    chosen.map(({ name }) => name),
  );
  for (const text of warnings) session.note(`warning: ${text}`);
  await confirm(session, options.yes === true, 'Old data that restores in place have kept is removed for good', 'drop');
  const dropped: { component: string; removed: readonly string[] }[] = [];
  for (const item of chosen) {
    const { name } = item;
    const target = targets[name];
    const { component } = target === undefined ? item : retargeted(item, target);
    if (component.dropOld) dropped.push({ component: name, removed: await component.dropOld(session.ctx) });
  }
  session.print({ dropped }, () => {
    const lines = dropped.flatMap(({ component, removed }) => removed.map((each) => `${component}: ${each} removed`));
    return lines.join('\n') || 'nothing was kept, so nothing was removed';
  });
  return 0;
}

/** All that is asked of a person, then what is archived. Null when the restore can go on, else when to come back. */
export async function thawFirst(
  session: Session,
  plan: RestorePlan,
  { from }: Pick<RestoreRequest, 'from'>,
  options: Options,
): Promise<Later | null> {
  const need = plan.archived && pointNeed(from, byPoint(plan.steps));
  // Before anybody is asked, or it is paid for. Thawing alone touches no target, and may be for a drill.
  if (!need || options.wait) refuseTargets(plan.steps);
  const agreed = need && plan.archived && (await confirmThaw(session, need, plan.archived, options));
  if (!agreed || options.wait) await confirmRestore(session, plan, options);
  const later = agreed && (await thaw(session, need, agreed, options));
  if (!agreed || later || options.wait) return later;
  refuseTargets(plan.steps); // it came back meanwhile
  await confirmRestore(session, plan, options);
  return null;
}

/** Over data, its name is typed; into empty targets a yes is enough. */
async function confirmRestore(session: Session, plan: RestorePlan, options: Options): Promise<void> {
  // Also where nobody could look: a target that does not answer may hold data all the same.
  const replaced = plan.steps.filter(({ way }) => way !== 'empty');
  const names = replaced.map(({ name }) => name).join(' ');
  const what = names === '' ? 'This restores as shown above' : `This replaces the data of ${names} as shown above`;
  await confirm(session, options.yes === true, what, names === '' ? 'yes' : names);
}
