// Follows buckets: in rounds all of them are listed, and what is other than at the last look is stored, with its bytes.

import type { Standing } from '../../../core/component.ts';
import { ERRORS, Failure, isFailure } from '../../../core/errors.ts';
import type { Feed } from '../../../core/journal.ts';
import type { Clock, Context } from '../../../core/model.ts';
import { cutAt, eachRound, type Rounds, roundsOf, withBases } from '../../../core/moments.ts';
import { bucketExists, type CapturedBucket, capturedBucket, scopesOf } from '../buckets.ts';
import { type Client, openClient } from '../client.ts';
import { partOf } from '../entries.ts';
import { type Intake, storingIntake } from '../intake.ts';
import type { Keeper } from '../keeping.ts';
import { listed } from '../listing.ts';
import type { Listed } from '../pages.ts';
import { objectForm, type PlainNames } from '../plain.ts';
import type { Scope, Settings } from '../settings.ts';
import type { Gone } from './format.ts';
import { isAsSeen, type Known, knownObjects, type Walk } from './known.ts';
import { overlay } from './overlay.ts';
import { type Shipper, shipperOf } from './shipping.ts';
import { serverMs, sourceOf } from './source.ts';

/** Listings show for sure what is older, and the server tells its time in seconds. */
const SETTLED_MS = 2_000;
const CLOCK_ERROR_MS = 1_000;
/** After so many looks the journal says that nothing came. */
const IDLE_ROUNDS = 3;
/** Settings of buckets are asked for again. */
const SETTINGS_MS = 300_000;
/** Of objects that are read before their entries are stored. */
const TOGETHER_BYTES = 8 * 1024 * 1024;
const TOGETHER = 200;
const FIRST = 'the buckets are followed from here on';

interface Going extends AsyncDisposable {
  /** Replaced by each look. */
  known: Known;
  readonly buckets: Map<string, CapturedBucket>;
  settingsAtMs: number;
}

export async function follow(ctx: Context, settings: Settings, feed: Feed): Promise<void> {
  await using client = openClient(ctx, settings);
  await meet(ctx, client);
  const rounds = roundsOf(feed);
  const goesOn = (): boolean => rounds.goesOn(sourceOf(client), serverMs(ctx, client));
  await withBases(ctx, feed, async (within, bases) => {
    for (;;) {
      const known = goesOn() ? await readBack(within, feed, rounds) : null;
      await using going = known ?? (await beginAnew(within, client, rounds));
      bases.need(feed.lineage()?.from.position ?? '', FIRST);
      await eachRound(within, settings.followEveryMs, goesOn, () =>
        look(within, client, rounds, going).catch(thrownAgain),
      );
    }
  });
}

export async function standing(ctx: Context, settings: Settings): Promise<Standing> {
  await using client = openClient(ctx, settings);
  await meet(ctx, client);
  return { source: sourceOf(client), end: cutAt(serverMs(ctx, client)), clock: clockOf(client) ?? null };
}

/** Its clock is known once it has answered. */
async function meet(ctx: Context, client: Client): Promise<void> {
  const [first] = await scopesOf(ctx, client);
  if (first) await bucketExists(ctx, client, first.bucket);
}

function clockOf(client: Client): Clock | undefined {
  const aheadMs = client.clockSkewMs();
  return aheadMs === null ? undefined : { aheadMs, errorMs: CLOCK_ERROR_MS };
}

function goingWith(known: Known, buckets: readonly CapturedBucket[]): Going {
  const going = {
    known,
    buckets: new Map(buckets.map((each) => [each.name, each])),
    settingsAtMs: Number.NEGATIVE_INFINITY,
    [Symbol.asyncDispose]: () => going.known[Symbol.asyncDispose](),
  };
  return going;
}

/** What is there now is for the point that is taken next. */
async function beginAnew(ctx: Context, client: Client, rounds: Rounds): Promise<Going> {
  await using undo = new AsyncDisposableStack();
  const startMs = serverMs(ctx, client);
  const known = undo.use(knownObjects(ctx));
  const buckets: CapturedBucket[] = [];
  for (const scope of await scopesOf(ctx, client)) {
    buckets.push(await capturedBucket(ctx, client, scope));
    for await (const page of listed(ctx, client, scope)) await known.add(scope.bucket, page);
  }
  await rounds.begin(ctx, sourceOf(client), FIRST, startMs);
  await shipperOf(rounds, { toMs: startMs, looked: startMs }).end(ctx, clockOf(client));
  undo.move();
  return goingWith(known, buckets);
}

/** The newest point, and what the journal says since. Null when that can't be read any more. */
async function readBack(ctx: Context, feed: Feed, rounds: Rounds): Promise<Going | null> {
  const source = JSON.stringify(feed.lineage()?.source);
  const from = feed.lineage()?.from.position ?? '';
  const bases = (await feed.bases(ctx)).filter((each) => {
    return JSON.stringify(each.source) === source && each.from >= from && each.from < rounds.position();
  });
  const base = bases.at(-1);
  if (!base) return null; // it was killed before there was one
  try {
    await using undo = new AsyncDisposableStack();
    const known = undo.use(knownObjects(ctx));
    const ranges = feed.read(ctx, base.from);
    await using all = await overlay(ctx, await feed.open(ctx, base.point), ranges, Number.POSITIVE_INFINITY);
    for await (const runs of all.entries(ctx)) {
      for (const { entry } of runs.flat()) {
        const { bucket, etag = '', bytes = 0, marker = false } = entry;
        await known.add(bucket, [{ ...entry, etag, bytes, marker }]);
      }
    }
    undo.move();
    return goingWith(known, all.buckets);
  } catch (error) {
    if (!isFailure(error) || !ERRORS[error.code].lost) throw error;
    ctx.log.warn('what the journal has can not be read from it: a new one is begun', { reason: error.message });
    return null;
  }
}

/** To who follows, 'different' says that another log goes on there: an object that changes each time is none. */
function thrownAgain(error: unknown): never {
  if (!isFailure(error, 'different')) throw error;
  throw new Failure('blocked', error.message, { cause: error, hint: 'somebody writes it all the time: see who does' });
}

async function look(ctx: Context, client: Client, rounds: Rounds, going: Going): Promise<void> {
  await using undo = new AsyncDisposableStack();
  const looked = serverMs(ctx, client);
  const toMs = Math.max(looked - SETTLED_MS, rounds.atMs() + 1);
  const scopes = await scopesOf(ctx, client);
  const shipper = shipperOf(rounds, { toMs, looked });
  await lookAtBuckets(ctx, client, { going, scopes, shipper });
  const now = undo.use(knownObjects(ctx));
  const before = going.known.walk();
  for (const scope of scopes) {
    const lockable = new Set(going.buckets.get(scope.bucket)?.settings['object-lock'] ? [scope.bucket] : []);
    const intake = intakeOf(ctx, client, shipper, lockable);
    for await (const page of listed(ctx, client, scope)) {
      const { changed, gone } = await compared(scope.bucket, page, before);
      await shipper.gone(ctx, gone);
      for (const some of together(changed)) {
        await shipper.entries(ctx, await intake.take(scope.bucket, some, new Map()));
      }
      await now.add(scope.bucket, page);
    }
  }
  await shipper.gone(ctx, await before.rest());
  const isSaid = toMs - rounds.atMs() < client.settings.followEveryMs * IDLE_ROUNDS;
  if (!shipper.isEmpty || !isSaid) await shipper.end(ctx, clockOf(client));
  const seen = going.known;
  going.known = now;
  undo.move();
  await seen[Symbol.asyncDispose]();
}

async function lookAtBuckets(
  ctx: Context,
  client: Client,
  { going, scopes, shipper }: { going: Going; scopes: readonly Scope[]; shipper: Shipper },
): Promise<void> {
  const { buckets } = going;
  const isDue = ctx.monotonicMs() - going.settingsAtMs >= SETTINGS_MS;
  if (isDue) going.settingsAtMs = ctx.monotonicMs();
  for (const scope of scopes) {
    const known = buckets.get(scope.bucket);
    if (known && !isDue) continue;
    const now = await capturedBucket(ctx, client, scope);
    if (JSON.stringify(now) === JSON.stringify(known)) continue;
    buckets.set(scope.bucket, now);
    shipper.bucket(now);
  }
  for (const name of buckets.keys()) {
    if (scopes.some(({ bucket }) => bucket === name)) continue;
    buckets.delete(name);
    shipper.bucketGone(name);
  }
}

async function compared(
  bucket: string,
  page: readonly Listed[],
  before: Walk,
): Promise<{ changed: Listed[]; gone: Gone[] }> {
  const changed: Listed[] = [];
  const gone: Gone[] = [];
  for (let from = 0; from < page.length; ) {
    const key = page[from]?.key ?? '';
    let to = from;
    while (page[to]?.key === key) to += 1;
    gone.push(...(await before.before(bucket, key)));
    const seen = await before.at(bucket, key);
    const now = page.slice(from, to);
    changed.push(...now.filter((each) => !seen.some((one) => isAsSeen(one, each))));
    gone.push(...seen.filter(({ version }) => !now.some((each) => each.version === version)));
    from = to;
  }
  return { changed, gone };
}

/** So much that who replays it has room for the bytes until the entries come. */
function* together(changed: readonly Listed[]): Iterable<Listed[]> {
  let some: Listed[] = [];
  let bytes = 0;
  for (const each of changed) {
    if (some.length === TOGETHER || (some.length > 0 && bytes + each.bytes > TOGETHER_BYTES)) {
      yield some;
      some = [];
      bytes = 0;
    }
    some.push(each);
    bytes += each.bytes;
  }
  if (some.length > 0) yield some;
}

/** Reads what has changed; nothing is known of it, and nothing is kept. */
function intakeOf(ctx: Context, client: Client, { sink }: Shipper, lockable: ReadonlySet<string>): Intake {
  const keeper: Keeper = { async add() {}, async keep() {}, async [Symbol.asyncDispose]() {} };
  const names: PlainNames = {
    see() {},
    pathOf: (entry) => [partOf(entry)],
    metaOf: (entry) => ({ rendition: objectForm(partOf(entry), [partOf(entry)]) }),
  };
  const told = { changed() {}, vanished() {} };
  const recheck = { isDue: () => false, asOf: <T>(entry: T): T => entry };
  return storingIntake(ctx, client, { sink, keeper, names, told, recheck, lockable });
}
