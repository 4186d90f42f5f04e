// What each of the old scripts does, in terms of our own commands.

import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import { isPointId } from '../../core/manifest.ts';
import type { Finding } from '../../core/model.ts';
import type { Adopted } from '../../core/storage.ts';
import { lastSlot } from '../../engine/slots.ts';
import { chooseEverywhere, listEverywhere } from '../across.ts';
import { parseConfig } from '../config/load.ts';
import type { Config, StoreConfig } from '../config/model.ts';
import { confirm } from '../confirm.ts';
import type { ExitCode, Session } from '../session.ts';
import { openStack } from '../stack.ts';
import { type Steps, stepsOf } from './delegate.ts';
import { isThere, oneFileBucket } from './one-file.ts';
import type { CompatPlan } from './plans.ts';
import { createMissing, createWhereBackupsAre, importInto } from './stores.ts';

/** A backup that begins so soon after its scheduled time is the scheduled one: pods take a while to start. */
const SLOT_LATE_MS_MAX = 15 * 60_000;
const ORIGIN = 'the environment';

/** What `restore` prints, as far as it tells whether all that is not known is what nobody could compare. */
const uncomparedSchema = z.object({
  unreadable_stores: z.array(z.unknown()),
  components: z
    .array(
      z.object({
        error: z.unknown().optional(),
        findings: z.object({ tally: z.object({ fail: z.number(), unknown: z.number() }), uncompared: z.number() }),
      }),
    )
    .min(1),
});

/** What `backup` prints when somebody else has the scheduled time. */
const heldSchema = z.object({ slot_held_by: z.object({ state: z.string() }) });

export interface Run {
  /** Its context has the variables of backup.env too. */
  readonly session: Session;
  readonly plan: CompatPlan;
  readonly options: { readonly yes?: true; readonly terminateConnections?: true };
  /** The plan of the configuration whose schedule and keep rules hold. */
  readonly planName: string;
}

/** Backs up, then removes what is older than the plans keep. */
export async function backUpScript(run: Run): Promise<ExitCode> {
  const config = await configOf(run);
  const session = withConfig(run.session, config);
  const { ctx } = session;
  for (const { component, unnamed } of run.plan.targets) {
    const planned = config.plans[run.planName]?.components;
    const isLeftOut = unnamed !== null && Array.isArray(planned) && !planned.includes(component);
    if (isLeftOut) session.note(`${component} is not backed up: ${unnamed} is not set`);
  }
  await createMissing(ctx, config);
  const steps = stepsOf(session);
  const { schedule, timezone = 'UTC' } = config.plans[run.planName] ?? {};
  const late = schedule === undefined ? null : ctx.now().getTime() - lastSlot(schedule, timezone, ctx.now()).getTime();
  const due = late !== null && late <= SLOT_LATE_MS_MAX;
  const words = ['--plan', run.planName];
  const scheduled = due ? await steps.run('backup', [...words, '--scheduled']) : null;
  // The old scripts made one each time.
  const isHeld = scheduled !== null && heldSchema.safeParse(scheduled.result).success;
  const { exitCode } = scheduled && !isHeld ? scheduled : await steps.run('backup', words);
  const pruned = await prune(session, steps);
  steps.finish();
  return pruned ? exitCode : 3;
}

/** A backup that has succeeded stays one when old points can't be removed. */
async function prune(session: Session, steps: Steps): Promise<boolean> {
  try {
    return (await steps.run('prune', ['--apply'])).exitCode === 0;
  } catch (error) {
    if (!isFailure(error) || error.code === 'interrupted') throw error;
    session.note(`old points stay: ${error.message}`);
    return false;
  }
}

/** Does everything but keep the point, and needs no bucket for it. */
export async function testBackupScript(run: Run): Promise<ExitCode> {
  const steps = stepsOf(run.session);
  const exitCode = await testBackup(run, steps);
  steps.finish();
  return exitCode;
}

async function testBackup(run: Run, steps: Steps): Promise<ExitCode> {
  const scratch = { format: 'plain', layout: 'dated', bucket: join(run.session.ctx.scratch, 'test-backup') };
  const config = await configOf({ ...run, plan: { ...run.plan, config: { ...run.plan.config, stores: { scratch } } } });
  const session = withConfig(run.session, config);
  await createMissing(session.ctx, config);
  return (await steps.run('backup', ['--test'], session)).exitCode;
}

/** A test backup of what is there, and a rehearsal of the newest point. */
export async function testRecoveryScript(run: Run): Promise<ExitCode> {
  const config = await configOf(run);
  const session = withConfig(run.session, config);
  const steps = stepsOf(session);
  const tested = await testBackup(run, steps);
  await createWhereBackupsAre(session.ctx, config);
  await importNewest(run, config);
  const { exitCode } = await steps.run('drill', []);
  steps.finish();
  return exitCode === 0 ? tested : exitCode;
}

/** Reads all backups from their beginning to their end. */
export async function verifyScript(run: Run): Promise<ExitCode> {
  const config = await configOf(run);
  const session = withConfig(run.session, config);
  await createWhereBackupsAre(session.ctx, config);
  const adopted = await importInto(session.ctx, config, { timeZone: run.plan.timeZone, plan: run.planName });
  const bad = adopted.flatMap(({ findings }) => findings);
  for (const finding of bad) session.note(findingText(finding));
  const steps = stepsOf(session);
  const { exitCode } = await steps.run('verify', ['--all', '--read-data']);
  steps.finish();
  if (!bad.some(({ verdict }) => verdict === 'fail')) return bad.length === 0 ? exitCode : 3;
  throw new Failure('checksum', 'files of older backups are damaged; they are listed above');
}

/** The named point, in place. */
export async function restorePointScript(run: Run, word: string): Promise<ExitCode> {
  const config = await configOf(run);
  const session = withConfig(run.session, config);
  await createWhereBackupsAre(session.ctx, config);
  if (isPointId(word)) await importOne(run, config, word);
  else await importNewest(run, config);
  const only = run.plan.targets.map(({ component }) => component);
  return await restoreAll(run, session, new Map([[await pointFor(session, config, word, only), only]]));
}

/**
 * The newest backup of each service, which may be of different moments. A service without one keeps no other from being
 * restored, and neither does a backup that is damaged: an older one takes its place.
 */
export async function restoreNewestScript(run: Run): Promise<ExitCode> {
  const config = await configOf(run);
  const session = withConfig(run.session, config);
  await createWhereBackupsAre(session.ctx, config);
  const unfit = (await importNewest(run, config)).flatMap(({ findings }) => findings);
  for (const finding of unfit) session.note(findingText(finding));
  const byPoint = new Map<string, string[]>();
  const lacking: Failure[] = [];
  for (const { component, unnamed } of run.plan.targets) {
    try {
      const point = await pointFor(session, config, 'latest', [component]);
      byPoint.set(point, [...(byPoint.get(point) ?? []), component]);
    } catch (error) {
      if (!isFailure(error, 'missing')) throw error;
      session.note(`${component} is not restored: there is no backup of it`);
      if (unnamed === null) lacking.push(error);
    }
  }
  if (byPoint.size === 0) throw lacking[0] ?? new Failure('missing', 'there is no backup of any service');
  const exitCode = await restoreAll(run, session, byPoint);
  return lacking.length + unfit.length > 0 ? 3 : exitCode;
}

/** One backup file, in a store or anywhere else. */
export async function restoreFileScript(run: Run, file: string): Promise<ExitCode> {
  const path = resolve(file);
  const { session } = run;
  if (!(await isThere(path))) throw new Failure('missing', `there is no file ${path}`);
  const config = await configOf(run);
  const held = await heldPoint(run, config, path);
  if (held !== null) return await restorePointScript(run, held);
  const [store] = config.stores;
  if (!store) throw new Error('a plan has a store');
  const bucket = oneFileBucket(path);
  const kept = { ...bucket, close: async () => undefined }; // opened twice: once to import, once to restore
  const only: StoreConfig = {
    ...store,
    name: 'file',
    url: path,
    bucket: { ...store.bucket, open: async () => kept },
    transient: true,
  };
  const own = { ...config, stores: [only] };
  await createMissing(session.ctx, own);
  const [adopted] = await importInto(session.ctx, own, { timeZone: run.plan.timeZone, plan: run.planName });
  if (!adopted) {
    throw new Failure('usage', `${basename(path)} is not named like a backup of this service`, {
      hint: 'such as postgres_DATABASE_20260128_120000.sql.gz, redis_20260128_120000.rdb or the folder minio_20260128_030000',
    });
  }
  const [problem] = adopted.findings;
  if (!adopted.point) throw new Failure('checksum', problem ? findingText(problem) : `${path} can't be read`);
  const components = Object.keys(adopted.point.components);
  await createWherePossible(session, config); // what is replaced is kept there
  const all = { ...config, stores: [only, ...config.stores] };
  try {
    return await restoreAll(run, withConfig(session, all), new Map([[adopted.id, components]]));
  } finally {
    await bucket.close();
  }
}

/** A store that can't be made keeps nothing from being restored. */
async function createWherePossible(session: Session, config: Config): Promise<void> {
  for (const store of config.stores) {
    try {
      await createMissing(session.ctx, { ...config, stores: [store] });
    } catch (error) {
      if (!isFailure(error) || error.code === 'interrupted') throw error;
      session.note(`store ${store.name} keeps nothing of what is replaced: ${error.message}`);
    }
  }
}

/** Restores keep the data that they replace; this removes it for good. */
export async function dropOldScript(run: Run): Promise<ExitCode> {
  const session = withConfig(run.session, await configOf(run));
  const steps = stepsOf(session);
  const { exitCode } = await steps.run('restore', ['--drop-old', ...(run.options.yes ? ['--yes'] : [])]);
  steps.finish();
  return exitCode;
}

/** The point that a file of our own store belongs to: it can then be compared with what was there. */
async function heldPoint(run: Run, config: Config, path: string): Promise<string | null> {
  const { ctx } = run.session;
  const root = dirname(dirname(path));
  const stores = config.stores.filter(({ url }) => resolve(url) === root);
  if (stores.length === 0) return null;
  await using stack = await openStack(ctx, { ...config, stores }, {}).catch((error: unknown) => {
    if (!isFailure(error, 'missing')) throw error;
    return { stores: [], components: [], failed: [], async [Symbol.asyncDispose]() {} };
  });
  const stamp = /(\d{4})(\d\d)(\d\d)_(\d{6})/.exec(basename(path));
  const id = stamp && `${stamp[1]}-${stamp[2]}-${stamp[3]}-${stamp[4]}`;
  for (const { store } of stack.stores) {
    for await (const point of store.list(ctx)) {
      const own = Object.values(point.components).every(({ method }) => method !== 'import');
      if (own && point.id === id) return id;
    }
  }
  return null;
}

async function importOne(run: Run, config: Config, id: string): Promise<void> {
  await importInto(run.session.ctx, config, { timeZone: run.plan.timeZone, plan: run.planName, id });
}

async function importNewest(run: Run, config: Config): Promise<readonly Adopted[]> {
  const until = run.plan.targets.map(({ component }) => component);
  return await importInto(run.session.ctx, config, { timeZone: run.plan.timeZone, plan: run.planName, until });
}

async function pointFor(
  session: Session,
  config: Config,
  word: string,
  components: readonly string[],
): Promise<string> {
  await using stack = await openStack(session.ctx, config, { components });
  const listing = await listEverywhere(session.ctx, stack);
  return chooseEverywhere(listing, config.stack, { word, components }).chosen.point.id;
}

/** Says what will be overwritten, has that confirmed by name, and does it. */
async function restoreAll(
  run: Run,
  session: Session,
  points: ReadonlyMap<string, readonly string[]>,
): Promise<ExitCode> {
  const wanted = [...points.values()].flat();
  const targets = run.plan.targets.filter(({ component }) => wanted.includes(component));
  for (const [id, components] of points) {
    for (const { component, name } of targets) {
      if (components.includes(component)) session.note(`${component}: point ${id} is restored over ${name}`);
    }
  }
  const names = targets.map(({ name }) => name).join(' ');
  await confirm(session, run.options.yes === true, `This replaces the data of ${names}`, names);
  const steps = stepsOf(session);
  const flags = ['--in-place', '--yes', ...(run.options.terminateConnections ? ['--terminate-connections'] : [])];
  let worst: ExitCode = 0;
  const failures: Failure[] = [];
  for (const [id, components] of points) {
    try {
      const { exitCode, result } = await steps.run('restore', [id, ...flags, '--only', components.join(',')]);
      if (exitCode !== 0 && !cameBackUncompared(result)) worst = 3;
    } catch (error) {
      if (!isFailure(error) || error.code === 'interrupted' || points.size === 1) throw error;
      failures.push(error); // the others are restored all the same
      session.note(`${components.join(', ')} of point ${id}: ${error.message}${error.hint ? `; ${error.hint}` : ''}`);
    }
  }
  if (failures.length === points.size && failures[0]) throw failures[0];
  steps.finish();
  return failures.length > 0 ? 3 : worst;
}

/** Files of the old scripts have no inventory to compare with; that they came back is all that was asked. */
function cameBackUncompared(result: unknown): boolean {
  const parsed = uncomparedSchema.safeParse(result);
  if (!parsed.success) return false;
  const { components, unreadable_stores } = parsed.data;
  return (
    unreadable_stores.length === 0 &&
    components.every(({ error, findings: { tally, uncompared } }) => {
      return error === undefined && tally.fail === 0 && tally.unknown === uncompared;
    })
  );
}

function findingText({ check, verdict, detail }: Finding): string {
  return `${verdict}: ${check}: ${detail}`;
}

async function configOf({ session, plan }: Run): Promise<Config> {
  try {
    return await parseConfig(session.ctx, JSON.stringify(plan.config), ORIGIN);
  } catch (error) {
    if (!isFailure(error, 'settings-invalid')) throw error;
    throw new Failure('settings-invalid', messageOf(error), { cause: error, hint: 'check the exported variables' });
  }
}

function withConfig(session: Session, config: Config): Session {
  return { ...session, config: async () => config };
}
