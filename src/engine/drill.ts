// The rehearsal: a point is restored into sandboxes, compared, asked, and timed. A verdict says what was
// shown, not what was hoped: what could not be tried is unknown, and only a damaged or different point fails.

import type { Component } from '../core/component.ts';
import { interruption } from '../core/context.ts';
import type { Guest, Sandbox, SandboxRunner } from '../core/driver.ts';
import { messageOf } from '../core/errors.ts';
import { idOf } from '../core/manifest.ts';
import type { Context, Finding } from '../core/model.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import { worst } from '../core/verdict.ts';
import { bringBack, phasesFrom, prove, sumOf, thenSettle, verdictOf, type Watch, watch } from './comeback.ts';
import { criticalPath, type Timed } from './critical-path.ts';
import { type ComponentEvidence, type Evidence, findingsJson, putEvidence } from './evidence.ts';
import { type FindingsBook, findingsBook } from './findings.ts';
import { kitFinding } from './kit.ts';
import {
  heldIn,
  type NamedStore,
  type Objective,
  PARALLEL_DEFAULT,
  type Reference,
  type StackComponent,
} from './model.ts';
import { dependencies, inOrder } from './order.ts';
import { firstCut } from './points.ts';
import { freeRecordId, putProof } from './proofs.ts';
import { among, checkReferences } from './references.ts';
import { needThawed } from './thaw.ts';

export interface DrillRequest {
  readonly from: NamedStore;
  readonly point: RecoveryPoint;
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
  const held = names.filter((name) => heldIn(point, name));
  await needThawed(ctx, from, point.id, held);
  await using boxes = new AsyncDisposableStack();
  const standing = new Map<string, Sandbox>();
  const keep = (name: string, box: Sandbox): void => void standing.set(name, boxes.use(box));
  const all = request.components.map(({ name, restoreAfter }) => ({ name, restoreAfter }));
  const trials = await inOrder<Trial>(dependencies(all, names), request.parallel ?? PARALLEL_DEFAULT, (name, earlier) =>
    tryOne(ctx, { ...request, keep }, name, [...earlier.keys()], startedMs),
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
  const proved = found.filter(({ book }) => book.sum().verdict === 'pass').map(({ name }) => name);
  for (const [name, box] of standing) {
    const { book } = trials.get(name) ?? { book: findingsBook() };
    for (const finding of [...(box.findings ?? []), ...(await vacated(ctx, name, box))]) book.add(finding);
  }
  const components = found.map((trial) => componentEvidence(point, trial, startedAt, chooseMs));
  const critical = criticalPath(trials);
  const known: Omit<Evidence, 'drill'> = {
    format: 1,
    scenario: request.scenario ?? null,
    stack: point.stack,
    point: point.id,
    store: from.name,
    sandboxes: runnersOf(request, names),
    started_at: startedAt.toISOString(),
    finished_at: new Date(startedAt.getTime() + chooseMs + ctx.monotonicMs() - startedMs).toISOString(),
    verdict: worst([...components, ...references.kept].map(({ verdict }) => verdict)),
    rto_ms: wholeRto(components),
    rpo_ms: startedAt.getTime() - firstCut(point),
    objectives_met: allMet(components),
    kit: await kitEvidence(ctx, from),
    critical_path: [...critical.names],
    phases: { choose: chooseMs, ...critical.phases },
    components,
    references: findingsJson(references),
  };
  return await record(ctx, request, startedAt, known, proved);
}

function namesIn({ only, point, expected, components }: DrillRequest): readonly string[] {
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
  readonly captured: CapturedComponent | null;
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
  const captured = Object.hasOwn(request.point.components, name) ? (request.point.components[name] ?? null) : null;
  const item = request.components.find((each) => each.name === name);
  const attempt: Attempt = { item, captured, book, watch: null };
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
  readonly captured: CapturedComponent | null;
  readonly book: FindingsBook;
  watch: Watch | null;
}
type Done = Pick<Trial, 'method' | 'warnings' | 'phases' | 'back'>;
const NOTHING_DONE: Done = { method: null, warnings: [], phases: phasesFrom({}), back: false };

async function attemptOne(ctx: Context, request: Trying, name: string, attempt: Attempt): Promise<Done> {
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const { item, captured, book } = attempt;
  if (!item || captured?.error !== null || !(item.driver.serverSpec || item.sandbox)) {
    book.add({ check: `${name} comes back`, verdict: 'unknown', detail: whyNotTried(item, captured) });
    return NOTHING_DONE;
  }
  const startedMs = ctx.monotonicMs();
  const version = captured.serverVersion ?? (await item.component.probe(ctx)).version;
  // What goes wrong up to here was thrown before anything of the point was read: it proves nothing about the point.
  await using own = new AsyncDisposableStack();
  const runner = runnerFor(request, item, captured);
  const box = own.use(await runner.start(ctx, item.driver, version, item.settings, captured.method ?? undefined));
  const provision = ctx.monotonicMs() - startedMs;
  const watching = watch(ctx, captured.parts.bytes);
  attempt.watch = watching;
  const from = { watch: watching, open: () => request.from.store.open(ctx, request.point.id, name) };
  const { source, restored, phases } = await bringBack(ctx, box.component, from, { reread: true });
  const verifyMs = ctx.monotonicMs();
  const { driver, checks } = item;
  const served = serverOf(ctx, box);
  const what = { name, driver, captured, source, watch: watching, target: box.component, checks, restored, ...served };
  await thenSettle(ctx, what, book, () => prove(ctx, what, book));
  const { method, warnings } = restored;
  if (isReferred(request, name) || box.vacate) {
    own.move();
    request.keep(name, { ...box, component: served.asked() });
  }
  const start = phases.start + served.tookMs();
  const verify = ctx.monotonicMs() - verifyMs - served.tookMs();
  return { method, warnings, phases: { ...phases, provision, start, verify }, back: true };
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
  { from, point, sandboxes }: DrillRequest,
  { name, component, settings, sandbox }: StackComponent,
  { identity }: CapturedComponent,
): SandboxRunner {
  if (!sandbox) return sandboxes;
  const open: Guest['open'] = (ctx, id) => from.store.open(ctx, id, name);
  const guest = { component: name, point: point.id, identity, captured: component, settings, open };
  return sandbox(guest, from.store.records);
}

function whyNotTried(item: StackComponent | undefined, captured: CapturedComponent | null): string {
  if (!captured) return 'the point does not hold it';
  if (captured.error) return `its capture failed: ${captured.error.message}`;
  if (!item) return 'it is no longer in the configuration';
  return `there are no throw-away servers of kind ${item.kind}, and no staging service is named`;
}

function componentEvidence(point: RecoveryPoint, trial: Trial, startedAt: Date, chooseMs: number): ComponentEvidence {
  const findings = trial.book.sum();
  const rtoMs = trial.back ? chooseMs + trial.endedMs : null;
  const cut = trial.captured?.cut ?? null;
  const held = trial.captured !== null && trial.captured.error === null;
  const rpoMs = held ? startedAt.getTime() - (cut ? Date.parse(cut.at) : firstCut(point)) : null;
  return {
    name: trial.name,
    kind: trial.kind,
    verdict: findings.verdict,
    server_version: trial.captured?.serverVersion ?? null,
    method: trial.method,
    cut,
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
  { from, point }: DrillRequest,
  startedAt: Date,
  known: Omit<Evidence, 'drill'>,
  proved: readonly string[],
): Promise<Drilled> {
  const { store } = from;
  let evidence: Evidence = { ...known, drill: idOf(startedAt) };
  try {
    const drill = await freeRecordId(ctx, store, 'evidence', startedAt, (stamp) => stamp);
    evidence = { ...known, drill };
    await putEvidence(ctx, store, evidence);
    if (proved.length > 0) {
      await putProof(ctx, store, { point: point.id, how: 'drill', components: [...proved], source: drill });
    }
    return { evidence, proved, unrecorded: null };
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    return { evidence, proved: [], unrecorded: error };
  }
}
