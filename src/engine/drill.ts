// The rehearsal: a point is restored into sandboxes, compared, asked, and timed. A verdict says what was
// shown, not what was hoped: what could not be tried is unknown, and only a damaged or different point fails.

import type { Component } from '../core/component.ts';
import { interruption } from '../core/context.ts';
import type { Guest, Sandbox, SandboxRunner } from '../core/driver.ts';
import { messageOf } from '../core/errors.ts';
import { idOf } from '../core/manifest.ts';
import type { Context, Cut, Finding } from '../core/model.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import { worst } from '../core/verdict.ts';
import {
  againstOf,
  bringBack,
  phasesFrom,
  prove,
  sumOf,
  thenSettle,
  verdictOf,
  type Watch,
  watch,
} from './comeback.ts';
import { criticalPath, type Timed } from './critical-path.ts';
import { type ComponentEvidence, clockJson, type Evidence, findingsJson, putEvidence } from './evidence.ts';
import { type FindingsBook, findingsBook } from './findings.ts';
import { kitFinding } from './kit.ts';
import { type Loss, lossJson, lossOf } from './markers.ts';
import { type NamedStore, type Objective, PARALLEL_DEFAULT, type Reference, type StackComponent } from './model.ts';
import { type Moment, momentIn, type Origin, originIn } from './moment.ts';
import { dependencies, inOrder } from './order.ts';
import { firstCut } from './points.ts';
import { freeRecordId, putProof } from './proofs.ts';
import { among, checkReferences } from './references.ts';
import { byPoint } from './restore-plan.ts';
import { needThawed } from './thaw.ts';

export interface DrillRequest {
  readonly from: NamedStore;
  readonly point: RecoveryPoint;
  /** As of a restore. */
  readonly moment?: Moment | undefined;
  readonly components: readonly StackComponent[];
  readonly only?: readonly string[] | undefined;
  /** Without `only`: what the point should hold, all that is configured when left out. What it lacks is unknown. */
  readonly expected?: readonly string[] | undefined;
  readonly sandboxes: SandboxRunner;
  readonly scenario?: string | null | undefined;
  /** How long it took to open the store and choose the point. */
  readonly chooseMs?: number | undefined;
  readonly parallel?: number | undefined;
  /** Checked when all is back, as far as both ends of one are. */
  readonly references?: readonly Reference[] | undefined;
}

export interface Drilled {
  readonly evidence: Evidence;
  /** The components that the point counts as proved for. */
  readonly proved: readonly string[];
  /** Why the store keeps no record of the drill; null when it does. */
  readonly unrecorded: unknown;
}

/** 'archived' before anything is tried when the point must be thawed first: waiting for that is no part of a drill. */
export async function drillPoint(ctx: Context, request: DrillRequest): Promise<Drilled> {
  const { from, point, chooseMs = 0 } = request;
  const startedMs = ctx.monotonicMs();
  const startedAt = new Date(ctx.now().getTime() - chooseMs); // choosing is part of a recovery
  const names = namesIn(request);
  const held = names.flatMap((name) => {
    const origin = originIn(request, name);
    return origin ? [{ name, origin }] : [];
  });
  await needThawed(ctx, from, byPoint(held));
  await using boxes = new AsyncDisposableStack();
  const standing = new Map<string, Sandbox>();
  const keep = (name: string, box: Sandbox): void => void standing.set(name, boxes.use(box));
  const all = request.components.map(({ name, restoreAfter }) => ({ name, restoreAfter }));
  const trials = await inOrder<Trial>(dependencies(all, names), request.parallel ?? PARALLEL_DEFAULT, (name, earlier) =>
    tryOne(ctx, { ...request, startedAt, keep }, name, [...earlier.keys()], startedMs),
  );
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const found = [...trials.values()];
  const fit = findingsBook();
  await checkReferences(
    ctx,
    among(request.references, request.only),
    (name) => standing.get(name)?.component ?? null,
    fit,
  );
  const references = fit.sum();
  // That they came back equal was shown, whatever the sandboxes were like.
  const proved = found.filter(({ book, origin }) => !origin?.replay && book.sum().verdict === 'pass');
  for (const [name, box] of standing) {
    const { book } = trials.get(name) ?? { book: findingsBook() };
    for (const finding of [...(box.findings ?? []), ...(await vacated(ctx, name, box))]) book.add(finding);
  }
  const components = found.map((trial) => componentEvidence(request, trial, startedAt, chooseMs));
  const critical = criticalPath(trials);
  const known: Omit<Evidence, 'drill'> = {
    format: 1,
    scenario: request.scenario ?? null,
    stack: point.stack,
    point: point.id,
    moment: request.moment?.wanted ?? null,
    store: from.name,
    sandboxes: runnersOf(request, names),
    started_at: startedAt.toISOString(),
    finished_at: new Date(startedAt.getTime() + chooseMs + ctx.monotonicMs() - startedMs).toISOString(),
    verdict: worst([...components, ...references.kept].map(({ verdict }) => verdict)),
    rto_ms: wholeRto(components),
    rpo_ms: startedAt.getTime() - firstOf(request, held),
    objectives_met: allMet(components),
    kit: await kitEvidence(ctx, from),
    critical_path: [...critical.names],
    phases: { choose: chooseMs, ...critical.phases },
    components,
    references: findingsJson(references),
  };
  return await record(ctx, request, startedAt, known, proved);
}

/** The moment up to which nothing is lost. */
function firstOf({ point, moment }: DrillRequest, held: readonly { readonly origin: Origin }[]): number {
  if (!moment) return firstCut(point);
  return Math.min(...held.map(({ origin }) => momentIn(origin) ?? firstCut(origin.point)));
}

function namesIn({ only, point, moment, expected, components }: DrillRequest): readonly string[] {
  if (moment) return only ?? [...moment.origins.keys(), ...moment.lacking.keys()];
  const configured = expected ?? components.map(({ name }) => name);
  return only ?? [...new Set([...Object.keys(point.components), ...configured])];
}

/** What is left of the drill in services that stay. */
async function vacated(ctx: Context, name: string, box: Sandbox): Promise<readonly Finding[]> {
  try {
    return (await box.vacate?.(ctx)) ?? [];
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    const check = `${name}: the staging service is empty again`;
    return [{ check, verdict: 'unknown', detail: messageOf(error), hint: 'the next drill tries to empty it first' }];
  }
}

function runnersOf({ sandboxes, components }: DrillRequest, names: readonly string[]): string {
  const ours = components.filter(({ name }) => names.includes(name));
  const external = ours.filter((item) => item.sandbox).length;
  return [...(external < ours.length ? [sandboxes.name] : []), ...(external > 0 ? ['external'] : [])].join(' and ');
}

async function kitEvidence(ctx: Context, { store }: NamedStore): Promise<Evidence['kit']> {
  const found = await kitFinding(ctx, store);
  if (!found) return null;
  const { verdict, detail, hint } = found;
  return { verdict, detail, ...(hint === undefined ? {} : { hint }) };
}

interface Trial extends Timed {
  readonly name: string;
  readonly kind: string;
  /** As it stands in its point, also where its capture had failed. */
  readonly captured: CapturedComponent | null;
  readonly origin: Origin | null;
  readonly reached: Cut | null;
  readonly loss: Loss | null;
  readonly objective: Objective;
  readonly book: FindingsBook;
  readonly method: string | null;
  readonly bytes: number;
  readonly warnings: readonly string[];
  /** It came back, whatever the comparison then said. */
  readonly back: boolean;
}

/** A drill whose sandboxes may stay until the components were looked at side by side. */
interface Trying extends DrillRequest {
  readonly startedAt: Date;
  keep(name: string, box: Sandbox): void;
}

function isReferred({ references = [] }: DrillRequest, name: string): boolean {
  return references.some(({ from, to }) => from.component === name || to.component === name);
}

async function tryOne(
  ctx: Context,
  request: Trying,
  name: string,
  after: readonly string[],
  originMs: number,
): Promise<Trial> {
  const startedMs = ctx.monotonicMs();
  const book = findingsBook();
  const origin = originIn(request, name) ?? null;
  const inPoint = Object.hasOwn(request.point.components, name) ? (request.point.components[name] ?? null) : null;
  const captured = origin?.captured ?? inPoint;
  const item = request.components.find((each) => each.name === name);
  const attempt: Attempt = { item, origin, book, watch: null };
  let done = NOTHING_DONE;
  try {
    done = await attemptOne(ctx, request, name, attempt);
  } catch (error) {
    book.add({ check: `${name} comes back`, verdict: verdictOf(error, attempt.watch), detail: messageOf(error) });
  }
  const begunMs = startedMs - originMs;
  return {
    name,
    kind: captured?.kind ?? item?.kind ?? '',
    captured,
    origin,
    objective: item?.objective ?? {},
    book,
    bytes: attempt.watch?.bytes() ?? 0,
    ...done,
    startedMs: begunMs,
    endedMs: begunMs + sumOf(done.phases), // taking the sandbox down is no part of a recovery
    after,
  };
}

interface Attempt {
  readonly item: StackComponent | undefined;
  readonly origin: Origin | null;
  readonly book: FindingsBook;
  watch: Watch | null;
}
type Done = Pick<Trial, 'method' | 'warnings' | 'phases' | 'back' | 'reached' | 'loss'>;
const NONE = { reached: null, loss: null, method: null };
const NOTHING_DONE: Done = { ...NONE, warnings: [], phases: phasesFrom({}), back: false };

async function attemptOne(ctx: Context, request: Trying, name: string, attempt: Attempt): Promise<Done> {
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const { item, origin, book } = attempt;
  if (!item || !origin || !(item.driver.serverSpec || item.sandbox)) {
    book.add({ check: `${name} comes back`, verdict: 'unknown', detail: whyNotTried(request, name, item) });
    return NOTHING_DONE;
  }
  const { captured, replay, point } = origin;
  const startedMs = ctx.monotonicMs();
  const version = captured.serverVersion ?? (await item.component.probe(ctx)).version;
  // What goes wrong up to here was thrown before anything of the point was read: it proves nothing about the point.
  await using own = new AsyncDisposableStack();
  const runner = runnerFor(request, item, origin);
  const box = own.use(await runner.start(ctx, item.driver, version, item.settings, captured.method ?? undefined));
  const provision = ctx.monotonicMs() - startedMs;
  const watching = watch(ctx, captured.parts.bytes);
  attempt.watch = watching;
  const from = { watch: watching, open: () => request.from.store.open(ctx, point.id, name), replay };
  const { source, restored, phases } = await bringBack(ctx, box.component, from, { reread: true });
  const verifyMs = ctx.monotonicMs();
  const { driver, checks } = item;
  const served = serverOf(ctx, box);
  const target = box.component;
  const against = againstOf(ctx, request.from, name, origin);
  const back = { name, driver, captured, replay, against, source, restored };
  const what = { ...back, ...served, watch: watching, target, checks };
  await thenSettle(ctx, what, book, () => prove(ctx, what, book));
  const { method, reached = null } = restored;
  const verify = ctx.monotonicMs() - verifyMs - served.tookMs();
  const { loss, warnings } = await lossOf(ctx, item, served.asked(), origin, request.startedAt);
  if (isReferred(request, name) || box.vacate) {
    own.move();
    request.keep(name, { ...box, component: served.asked() });
  }
  const start = phases.start + served.tookMs();
  const all = [...restored.warnings, ...warnings];
  return { method, warnings: all, reached, loss, phases: { ...phases, provision, start, verify }, back: true };
}

/** What can be asked in a sandbox: where a server is started on what was restored, once it was. */
function serverOf(
  ctx: Context,
  { component, serve }: Sandbox,
): { serve?: () => Promise<Component>; asked: () => Component; tookMs: () => number } {
  let [asked, tookMs] = [component, 0];
  const timed = async (start: NonNullable<Sandbox['serve']>): Promise<Component> => {
    const startedMs = ctx.monotonicMs();
    try {
      return (asked = await start(ctx));
    } finally {
      tookMs = ctx.monotonicMs() - startedMs;
    }
  };
  return { ...(serve ? { serve: () => timed(serve) } : {}), asked: () => asked, tookMs: () => tookMs };
}

function runnerFor(
  { from, sandboxes }: DrillRequest,
  { name, component, settings, sandbox }: StackComponent,
  { point, captured: { identity } }: Origin,
): SandboxRunner {
  if (!sandbox) return sandboxes;
  const open: Guest['open'] = (ctx, id) => from.store.open(ctx, id, name);
  const guest = { component: name, point: point.id, identity, captured: component, settings, open };
  return sandbox(guest, from.store.records);
}

function whyNotTried({ point, moment }: DrillRequest, name: string, item: StackComponent | undefined): string {
  const captured = Object.hasOwn(point.components, name) ? point.components[name] : undefined;
  const lacking = moment?.lacking.get(name);
  if (lacking !== undefined) return lacking;
  if (!captured && !moment) return 'the point does not hold it';
  if (captured?.error && !moment) return `its capture failed: ${captured.error.message}`;
  if (!item) return 'it is no longer in the configuration';
  return `there are no throw-away servers of kind ${item.kind}, and no staging service is named`;
}

function componentEvidence(
  { point }: DrillRequest,
  trial: Trial,
  startedAt: Date,
  chooseMs: number,
): ComponentEvidence {
  const { origin, reached } = trial;
  const findings = trial.book.sum();
  const rtoMs = trial.back ? chooseMs + trial.endedMs : null;
  const cut = trial.captured?.cut ?? null;
  const held = trial.captured !== null && trial.captured.error === null;
  const rpoMs = held ? startedAt.getTime() - ((origin && momentIn(origin)) ?? firstCut(origin?.point ?? point)) : null;
  return {
    name: trial.name,
    kind: trial.kind,
    verdict: findings.verdict,
    server_version: trial.captured?.serverVersion ?? null,
    method: trial.method,
    cut,
    point: origin?.point.id ?? null,
    target: origin?.replay?.target ?? null,
    against: origin?.against?.point.id ?? null,
    clock: clockJson(origin?.aim?.clock ?? null),
    reached,
    marker: lossJson(trial.loss),
    bytes: trial.bytes,
    rto_ms: rtoMs,
    rpo_ms: rpoMs,
    objective: {
      rto_ms: trial.objective.rtoMs ?? null,
      rpo_ms: trial.objective.rpoMs ?? null,
      rto_met: met(trial.objective.rtoMs, rtoMs),
      rpo_met: met(trial.objective.rpoMs, rpoMs),
    },
    phases: trial.phases,
    findings: findingsJson(findings),
    warnings: [...trial.warnings],
  };
}

/** Null where nothing was promised, or nothing could be measured. */
function met(limitMs: number | undefined, measuredMs: number | null): boolean | null {
  return limitMs === undefined || measuredMs === null ? null : measuredMs <= limitMs;
}

/** Null unless everything came back: half a recovery has no recovery time. */
function wholeRto(components: readonly ComponentEvidence[]): number | null {
  let whole: number | null = null;
  for (const { rto_ms: each } of components) {
    if (each === null) return null;
    whole = Math.max(whole ?? 0, each);
  }
  return whole;
}

/** One that was missed is enough; else one that could not be measured leaves it open. */
function allMet(components: readonly ComponentEvidence[]): boolean | null {
  const judged = components.flatMap(({ objective }) => [
    ...(objective.rto_ms === null ? [] : [objective.rto_met]),
    ...(objective.rpo_ms === null ? [] : [objective.rpo_met]),
  ]);
  if (judged.includes(false)) return false;
  return judged.length === 0 || judged.includes(null) ? null : true;
}

/** Evidence first: a proof points at it. */
async function record(
  ctx: Context,
  { from }: DrillRequest,
  startedAt: Date,
  known: Omit<Evidence, 'drill'>,
  proved: readonly Trial[],
): Promise<Drilled> {
  const { store } = from;
  let evidence: Evidence = { ...known, drill: idOf(startedAt) };
  try {
    const drill = await freeRecordId(ctx, store, 'evidence', startedAt, (stamp) => stamp);
    evidence = { ...known, drill };
    await putEvidence(ctx, store, evidence);
    const held = proved.flatMap(({ name, origin }) => (origin ? [{ name, origin }] : []));
    for (const [point, components] of byPoint(held)) {
      await putProof(ctx, store, { point, how: 'drill', components: [...components], source: drill });
    }
    return { evidence, proved: proved.map(({ name }) => name), unrecorded: null };
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    return { evidence, proved: [], unrecorded: error };
  }
}
