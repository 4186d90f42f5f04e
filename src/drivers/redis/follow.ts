// Following: a replica of the server that keeps its log. A full copy is the base, the stream behind it the journal, and
// the server is told of what is durable only.

import assert from 'node:assert/strict';
import { interruption, withSignal } from '../../core/context.ts';
import type { Feed } from '../../core/journal.ts';
import type { Context } from '../../core/model.ts';
import { type CopyBudget, copyBudget, noteGap, type Resumption, resumption } from './backlog.ts';
import { captureSync } from './capture.ts';
import { type SourceClock, sourceClock } from './clock.ts';
import { connect } from './connection.ts';
import { type Hold, hold } from './hold.ts';
import { type Link, openLink } from './link.ts';
import { positionOf, replicationIdOf, sourceOf } from './position.ts';
import { serverFacts } from './server.ts';
import type { Settings } from './settings.ts';

const ACKNOWLEDGE_MS = 1_000;
/** In acknowledgements. */
const MEASURE_EACH = 10;
/** What a server asks its replicas for when somebody waits for them. */
const WAITED_FOR = Buffer.from('\r\nGETACK\r\n');

interface Following {
  readonly settings: Settings;
  readonly feed: Feed;
  readonly link: Link;
  readonly clock: SourceClock;
  readonly budget: CopyBudget;
}

interface Begun {
  /** The point that all of it is replayed on. Until it is there, nothing counts as durable. */
  readonly base: Promise<unknown>;
}

/** What a component follows with: it remembers from call to call how many copies came to nothing. */
export function follower(settings: Settings): (ctx: Context, feed: Feed) => Promise<void> {
  const budget = copyBudget();
  return (ctx, feed) => follow(ctx, settings, feed, budget);
}

async function follow(ctx: Context, settings: Settings, feed: Feed, budget: CopyBudget): Promise<void> {
  await using control = await connect(ctx, settings);
  const server = await serverFacts(control);
  const clock = await sourceClock(ctx, control, Date.parse(feed.durable()?.at ?? '') || 0);
  const resumed = await resumption(ctx, feed, server);
  if (!resumed?.based) budget.take(ctx, control.where, server);
  await using link = await openLink(ctx, settings, resumed?.from ?? null);
  const following = { settings, feed, link, clock, budget };
  // It may have lost since what it said that it has: then the copy is on its way.
  if (link.copy && resumed?.based) budget.take(ctx, control.where, server);
  const { base } = link.copy ? await beginAnew(ctx, following) : await goOn(ctx, following, resumed);
  await pump(ctx, following, base);
}

/** With the copy that comes; the base is the point that it becomes. */
async function beginAnew(ctx: Context, following: Following): Promise<Begun> {
  const { settings, feed, link, clock } = following;
  const { server, replicationId, offset, copy } = link;
  const before = feed.lineage();
  const isSame = before !== null && replicationIdOf(before.source) === replicationId;
  const lost = isSame
    ? 'a full copy: the server no longer had what followed'
    : 'a full copy: the server has another log';
  const why = before === null ? 'the beginning' : lost;
  ctx.log.info('a full copy begins a journal', { server: link.where, why });
  const asked = clock.now();
  const base = feed.base(ctx, why, async (within, sink) => {
    assert(copy, 'this is called where there is one');
    return await captureSync(within, settings, { sync: { server, replicationId, offset, body: copy }, asked }, sink);
  });
  base.catch(() => {}); // told to who waits for it
  await Promise.race([link.copied.catch(() => base), base]);
  link.acknowledge(0n);
  try {
    await noteGap(ctx, feed, link, asked);
    const from = { position: positionOf(BigInt(offset)), at: new Date(asked).toISOString() };
    await feed.begin(ctx, { from, base: null, why, source: sourceOf(replicationId), parent: null });
  } catch (error) {
    await base.catch(() => {});
    throw error;
  }
  return { base };
}

/** Where the journal ends, or another capture was taken. */
async function goOn(ctx: Context, following: Following, resumed: Resumption | null): Promise<Begun> {
  const { feed, link, clock } = following;
  const [lineage, durable] = [feed.lineage(), feed.durable()];
  assert(resumed, 'a server goes on where it was asked to');
  const source = sourceOf(link.replicationId);
  if (resumed.base !== null) {
    const at = clock.now();
    await noteGap(ctx, feed, resumed.from, at);
    const from = { position: resumed.from.offset, at: new Date(at).toISOString() };
    await feed.begin(ctx, { from, base: resumed.base, why: 'goes on from another capture', source, parent: null });
  } else if (lineage && durable && replicationIdOf(lineage.source) !== link.replicationId) {
    const parent = { lineage: lineage.id, position: durable.position };
    const why = 'the server was promoted or started again, with the same data';
    await feed.begin(ctx, { from: durable, base: null, why, source, parent });
  }
  const why = 'no point can be brought forward by the journal';
  return { base: resumed.based ? Promise.resolve() : feed.base(ctx, why) };
}

/** Takes in what comes, stores it, and acknowledges it, until one of them fails: what has come by then is stored. */
async function pump(ctx: Context, following: Following, base: Promise<unknown>): Promise<void> {
  const { feed, link } = following;
  const held = hold();
  const stop = new AbortController();
  let isBased = false;
  const acknowledge = (): void => {
    const durable = feed.durable();
    link.acknowledge(isBased && durable ? BigInt(durable.position) : 0n);
  };
  const works = [
    takeIn(following, held),
    store(ctx, following, held, acknowledge),
    tick(withSignal(ctx, stop.signal), following, acknowledge),
    base.then(() => {
      isBased = true;
    }),
  ];
  try {
    await Promise.all(works);
  } catch (error) {
    stop.abort();
    await link[Symbol.asyncDispose]();
    held.end();
    await Promise.allSettled(works);
    throw ctx.signal.aborted ? interruption(ctx.signal) : error;
  }
}

async function takeIn({ link, clock }: Following, held: Hold): Promise<void> {
  for await (const piece of link.stream) {
    await held.add(piece, clock.now());
    if (piece.includes(WAITED_FOR)) held.hurry();
  }
}

async function store(ctx: Context, { feed, clock }: Following, held: Hold, onStored: () => void): Promise<void> {
  // What has come is stored also when all is to stop.
  const going = { ...ctx, signal: new AbortController().signal };
  for (let shipment = await held.next(going); shipment; shipment = await held.next(going)) {
    const { body, bytes, lastAt } = shipment;
    const from = feed.durable();
    assert(from, 'a lineage was begun');
    const to = { position: positionOf(BigInt(from.position) + BigInt(bytes)), at: new Date(lastAt).toISOString() };
    const measured = clock.measured();
    const at = new Date(lastAt - (measured?.aheadMs ?? 0)).toISOString();
    await feed.append(ctx, { from, to, at, clock: measured, body });
    onStored();
  }
}

async function tick(ctx: Context, { clock, budget }: Following, acknowledge: () => void): Promise<void> {
  for (let ticks = 1; ; ticks++) {
    await ctx.sleep(ACKNOWLEDGE_MS);
    acknowledge();
    if (ticks % MEASURE_EACH > 0) continue;
    await clock.measure();
    budget.followed(ticks * ACKNOWLEDGE_MS);
  }
}
