// Is what the store holds what was put there? Structure always, the data itself as far as is asked for. Every damage is
// listed, not only the first; where one hides others, that is said.

import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { byteOrder } from '../core/bytes.ts';
import { withSignal } from '../core/context.ts';
import { isFailure, messageOf } from '../core/errors.ts';
import { byKindAndName, INVENTORY_PART, inventoryBatches } from '../core/inventory.ts';
import type { Context, Finding, InventoryLine, Part, Source } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import { type Coverage, nextTurn, noteTurn } from './coverage.ts';
import { type ComponentOf, checkExternal } from './external.ts';
import { type Findings, type FindingsBook, findingsBook } from './findings.ts';
import { heldBy, type NamedStore } from './model.ts';
import { type ListedPart, PARTS_PART, type PartSeal, partDigests, readPartList } from './parts.ts';
import { needThawed } from './thaw.ts';
import { followedIn, gapFindings, windowFindings } from './verify-windows.ts';

/** Parts that are read at the same time. */
const READS_AT_ONCE = 4;
/** Threads that read the packs meanwhile ask for more: nobody is to keep them waiting for long. */
const LINES_AT_ONCE = 500;
const REPAIR =
  'run lifeboat verify --all --read-data to see all damage, then lifeboat backup, which stores again what it can';

export interface VerifyRequest {
  readonly in: NamedStore;
  /** The whole store when left out. */
  readonly points?: readonly RecoveryPoint[] | undefined;
  /** The share of the data that is read and hashed, 0 to 1. */
  readonly readData?: number | undefined;
  /** Asked about data that lies outside the store; that is unknown when left out. */
  readonly componentOf?: ComponentOf | undefined;
}

export interface Verified {
  readonly points: number;
  readonly findings: Findings;
  /** Whether each window has no gap; of a whole store alone. */
  readonly windows: readonly Finding[];
  /** Gaps that were noted and that newer points lead past; others are failures, and among the findings alone. */
  readonly gaps: readonly Finding[];
  /** What has been read when; only when a whole store's data was read. */
  readonly coverage: Coverage | null;
}

export async function verifyPoints(ctx: Context, request: VerifyRequest): Promise<Verified> {
  const share = Math.min(1, Math.max(0, request.readData ?? 0));
  const [book, ofPoints] = [findingsBook(), findingsBook()];
  const [{ coverage, windows, gaps }, points] = await both(
    ctx,
    async (within) => (request.points ? POINTS_ALONE : await checkStore(within, request.in, share, book)),
    async (within) => await verifyEach(within, request, share, ofPoints),
  );
  book.addAll(ofPoints.sum()); // in this order, whichever came first
  if (points === 0) {
    book.add({ check: `store ${request.in.name} holds points`, verdict: 'unknown', detail: 'it holds none' });
  }
  return { points, findings: book.sum(), windows, gaps, coverage };
}

type OfStore = Pick<Verified, 'coverage' | 'windows' | 'gaps'>;
const POINTS_ALONE: OfStore = { coverage: null, windows: [], gaps: [] };

/** Runs both at the same time. When one fails, the other is stopped; nothing runs on behind the caller's back. */
async function both<A, B>(
  ctx: Context,
  one: (ctx: Context) => Promise<A>,
  other: (ctx: Context) => Promise<B>,
): Promise<[A, B]> {
  const failed = new AbortController();
  const within = withSignal(ctx, failed.signal);
  const stopping = (error: unknown): never => {
    failed.abort(error);
    throw error;
  };
  const works = [one(within).catch(stopping), other(within).catch(stopping)] as const;
  await Promise.allSettled(works);
  failed.signal.throwIfAborted();
  return await Promise.all(works);
}

/** How many there are. What a check of the whole store reads is not read again. */
async function verifyEach(
  ctx: Context,
  { in: named, points: chosen, componentOf = nobody }: VerifyRequest,
  share: number,
  book: FindingsBook,
): Promise<number> {
  if (share > 0 && chosen) await needThawed(ctx, named, new Map(chosen.map((point) => [point.id, heldBy(point)])));
  const job = { store: named.store, share: chosen ? share : 0, book, whole: new Map<string, Whole>() };
  let points = 0;
  for await (const point of chosen ?? named.store.list(ctx)) {
    points += 1;
    ctx.progress({ task: named.name, phase: 'verify', items: points });
    await verifyPoint(ctx, job, point);
    await checkExternal(ctx, point, componentOf, book);
  }
  return points;
}

const nobody: ComponentOf = async () => null;

/** The store's own check: what only it knows of its files. */
async function checkStore(ctx: Context, named: NamedStore, share: number, book: FindingsBook): Promise<OfStore> {
  const { name, store } = named;
  const turn = share > 0 ? await nextTurn(ctx, store, share) : null;
  const options = { readData: share, ...(turn ? { from: turn.from } : {}) };
  let [found, unread] = [0, 0];
  const damaged = new Set<string>();
  const noted: Finding[] = [];
  for await (const finding of store.check(ctx, options)) {
    if (finding.journal?.noted) {
      noted.push(finding);
      continue;
    }
    book.add(finding);
    found += 1;
    if (finding.verdict === 'unknown') unread += 1;
    if (finding.journal) damaged.add(finding.journal.component);
  }
  const followed = await followedIn(ctx, named);
  const gaps = gapFindings(followed, noted);
  for (const gap of gaps) book.add(gap);
  if (found === 0 && gaps.every(({ verdict }) => verdict === 'pass')) {
    const read = share === 0 ? 'structure only' : `structure and ${Math.round(share * 100)} % of the data`;
    book.add({ check: `store ${name} is undamaged`, verdict: 'pass', detail: read });
  }
  const coverage = turn && (await noteTurn(ctx, store, turn, unread === 0));
  const windows = [...windowFindings(followed, { damaged, share })];
  for (const finding of windows) book.add(finding);
  const past = gaps.filter(({ verdict }) => verdict === 'pass');
  return { coverage: unread === 0 ? coverage : null, windows, gaps: past }; // what is archived was not read
}

/** What was found without damage. */
interface Whole {
  readonly parts: number;
  readonly lines: number;
}
interface Job {
  readonly store: NamedStore['store'];
  readonly share: number;
  readonly book: FindingsBook;
  /** By identity: a component that did not change since the point before is not looked at again. */
  readonly whole: Map<string, Whole>;
}

async function verifyPoint(ctx: Context, job: Job, point: RecoveryPoint): Promise<void> {
  const { store, book } = job;
  for (const name of heldBy(point)) {
    const captured = point.components[name];
    if (!captured) continue;
    const where = `${point.id}/${name}`;
    try {
      const source = await store.open(ctx, point.id, name);
      const found = knownWhole(job, source, captured) ?? (await verifySource(ctx, job, source, captured, where));
      if (!found) continue;
      const detail = `${found.parts} parts, ${found.lines} inventory lines`;
      book.add({ check: `${where} is complete`, verdict: 'pass', detail });
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      // A point may be pruned while it is looked at.
      if (isFailure(error, 'missing') && !(await isListed(ctx, store, point.id))) return;
      book.add(damage(`${where} can be read`, error));
    }
  }
}

function knownWhole({ whole }: Job, { identity }: Source, { parts }: CapturedComponent): Whole | undefined {
  const known = identity === undefined ? undefined : whole.get(identity);
  return known?.parts === parts.count ? known : undefined;
}

/** Null after a finding that it is not complete. */
async function verifySource(
  ctx: Context,
  { share, book, whole }: Job,
  source: Source,
  captured: CapturedComponent,
  where: string,
): Promise<Whole | null> {
  const parts = await verifyParts(ctx, source, captured, where, book);
  const lines = await verifyInventory(ctx, source, captured, where, book);
  const isRead = share === 0 || (await readParts(ctx, source, share, where, book));
  if (parts === null || lines === null) return null;
  const found = { parts, lines };
  if (isRead && source.identity !== undefined) whole.set(source.identity, found);
  return found;
}

/** How many parts there are, or null after a finding. */
async function verifyParts(
  ctx: Context,
  source: Source,
  captured: CapturedComponent,
  where: string,
  book: FindingsBook,
): Promise<number | null> {
  const check = `${where} has the parts that were captured`;
  if (!(await holds(ctx, source, PARTS_PART))) {
    const verdict = captured.inventoryLevel === null ? 'unknown' : 'fail';
    book.add({ check, verdict, detail: 'it has no list of its parts', hint: REPAIR });
    return null;
  }
  const { listed, wrong } = await compareParts(ctx, source, where, book);
  if (listed === captured.parts.count) return wrong === 0 ? listed : null;
  const detail = `the manifest counts ${captured.parts.count}, the list ${listed}`;
  book.add({ check, verdict: 'fail', detail, hint: REPAIR });
  return null;
}

async function compareParts(
  ctx: Context,
  source: Source,
  where: string,
  book: FindingsBook,
): Promise<{ listed: number; wrong: number }> {
  let [listed, wrong] = [0, 0];
  const digests = partDigests();
  let unlike = 0; // captured parts since the last seal that are missing or have another length
  let last = '';
  const whole = `${where} is as it was captured`;
  function report(check: string, detail: string): void {
    wrong += 1;
    book.add({ check, verdict: 'fail', detail, hint: REPAIR });
  }
  function checkSeal(seal: PartSeal): void {
    const { parts, digest } = digests.seal();
    // Without the digests of all its parts, a seal tells nothing of those that are left.
    if (unlike > 0 && unlike < seal.parts) {
      const detail = `the other ${seal.parts - unlike} of the ${seal.parts} parts up to ${last} could not be compared`;
      book.add({ check: whole, verdict: 'unknown', detail, hint: REPAIR });
    } else if (unlike === 0 && (parts !== seal.parts || digest !== seal.digest)) report(whole, otherDigest(seal, last));
    unlike = 0;
  }
  function checkPart(expected: ListedPart, actual: Part | null): void {
    listed += 1;
    last = expected.name;
    if (actual) digests.add(actual);
    if (actual?.bytes === expected.bytes) return;
    unlike += 1;
    const is = actual
      ? `${expected.bytes} bytes were captured, ${actual.bytes} are there`
      : 'it was captured and is missing';
    report(`${where}/${last} is there`, is);
  }
  // Both are in byte order of name.
  const unknown = (name: string): void => report(`${where}/${name} is there`, 'it is there and was not captured');
  await using held = partsInOrder(ctx, source, unknown);
  for await (const lines of readPartList(ctx, source)) {
    for (const line of lines) {
      if ('digest' in line) checkSeal(line);
      else checkPart(line, await held.next(line.name));
      if (listed % LINES_AT_ONCE === 0) await setImmediate();
    }
  }
  await held.next();
  if (digests.seal().parts > 0) report(whole, 'the end of its part list is missing');
  return { listed, wrong };
}

function otherDigest({ parts }: PartSeal, last: string): string {
  const which = parts === 1 ? last : `one of the ${parts} parts up to ${last}`;
  return `${which} has another digest than when it was captured`;
}

interface PartsInOrder extends AsyncDisposable {
  /** The part of that name, or null; without a name all are passed. */
  next(name?: string): Promise<Part | null>;
}

/** Asked in byte order of name. Those that nobody asks for are `passed`. */
function partsInOrder(ctx: Context, source: Source, passed: (name: string) => void): PartsInOrder {
  const iterator = source.parts(ctx)[Symbol.asyncIterator]();
  let current: IteratorResult<Part> | undefined;
  return {
    async next(name) {
      for (;;) {
        current ??= await iterator.next();
        if (current.done) return null;
        const part = current.value;
        const order = name === undefined ? -1 : byteOrder(part.name, name);
        if (order > 0) return null;
        current = undefined;
        if (part.name === PARTS_PART) continue;
        if (order === 0) return part;
        passed(part.name);
      }
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.();
    },
  };
}

/** How many lines it has, or null after a finding. */
async function verifyInventory(
  ctx: Context,
  source: Source,
  captured: CapturedComponent,
  where: string,
  book: FindingsBook,
): Promise<number | null> {
  const check = `${where} has its inventory`;
  if (!(await holds(ctx, source, INVENTORY_PART))) {
    const verdict = captured.inventoryLevel === null ? 'unknown' : 'fail';
    book.add({ check, verdict, detail: 'it has none, so a restore of it can not be compared' });
    return null;
  }
  let lines = 0;
  let before: InventoryLine | undefined;
  try {
    for await (const some of inventoryBatches(ctx, source)) {
      for (const line of some) {
        if (before && byKindAndName(before, line) >= 0) {
          book.add({ check, verdict: 'fail', detail: `${line.kind} ${line.name} is out of order`, hint: REPAIR });
          return null;
        }
        before = line;
        lines += 1;
        if (lines % LINES_AT_ONCE === 0) await setImmediate();
      }
    }
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    book.add(damage(check, error));
    return null;
  }
  return lines;
}

/** Reads whole parts, for only the whole of a part can be hashed; their names tell which. False after a finding. */
async function readParts(
  ctx: Context,
  source: Source,
  share: number,
  where: string,
  book: FindingsBook,
): Promise<boolean> {
  let bytes = 0;
  let isWhole = true;
  await mapBounded(source.parts(ctx), READS_AT_ONCE, async ({ name }) => {
    if (shareOf(name) >= share) return;
    try {
      for await (const chunk of source.get(ctx, name)) {
        bytes += chunk.length;
        ctx.progress({ task: where, phase: 'verify', bytes });
      }
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      isWhole = false;
      book.add(damage(`${where}/${name} reads as it was captured`, error));
    }
  });
  return isWhole;
}

/** From 0 to 1, the same for the same name. */
function shareOf(name: string): number {
  return createHash('sha256').update(name).digest().readUInt32BE(0) / 2 ** 32;
}

function damage(check: string, error: unknown): Finding {
  const lost = isFailure(error, 'checksum') || isFailure(error, 'missing') || isFailure(error, 'malformed');
  const hint = (isFailure(error, 'archived') && error.hint) || REPAIR;
  return { check, verdict: lost ? 'fail' : 'unknown', detail: messageOf(error), hint };
}

async function holds(ctx: Context, source: Source, name: string): Promise<boolean> {
  try {
    await source.part(ctx, name);
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  }
}

async function isListed(ctx: Context, store: NamedStore['store'], id: string): Promise<boolean> {
  for await (const point of store.list(ctx)) if (point.id === id) return true;
  return false;
}
