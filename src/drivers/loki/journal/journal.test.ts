// Following a Loki, and bringing it back as it was at moments of a recorded history.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needServer } from '../../../../test/servers/need.ts';
import type { ReplayTarget } from '../../../core/component.ts';
import type { InventoryLine } from '../../../core/model.ts';
import { liveContext } from '../../../core/testing.ts';
import { chainOf, followTillFull, type Recording, randomOf, recording, stretchesOf } from '../../feed-testing.ts';
import { lokiDriver } from '../driver.ts';
import { place } from '../stage-testing.ts';
import { type Place, push } from '../testing.ts';

const ctx = liveContext();
/** What is pushed next is later than the moment. */
const BETWEEN_MS = 20;
let pushed = 0;

interface Moment {
  readonly at: string;
  readonly lines: readonly unknown[];
}

/** So many lines, the newest so long ago. */
async function log(to: Place, app: string, count: number, agoMs = 0): Promise<void> {
  const at = BigInt(Date.now() - agoMs) * 1_000_000n;
  const values = Array.from({ length: count }, (_, n) => {
    return [`${at - BigInt(count - n)}`, `line ${++pushed}`, n % 2 === 0 ? { trace: `${n}` } : {}] as const;
  });
  await push(to, [{ stream: { app }, values }]);
}

async function moment(settings: object, record: Recording | null): Promise<Moment> {
  if (record) await record.reached(ctx);
  const lines = await told(await lokiDriver.open(settings).inventory(ctx));
  const at = ctx.now().toISOString();
  await ctx.sleep(BETWEEN_MS);
  if (record) await record.reached(ctx); // what comes late is of a round after it
  return { at, lines };
}

async function told(inventory: { lines(c: typeof ctx): AsyncIterable<InventoryLine> }): Promise<unknown[]> {
  const all = await Array.fromAsync(inventory.lines(ctx));
  return all.flatMap(({ kind, name, count, digest }) => (kind === 'stream' ? [[name, count, digest]] : []));
}

/** In another tenant. */
async function assertBack(
  record: Recording,
  expected: Moment,
  { target = { kind: 'time', at: expected.at }, point }: { target?: ReplayTarget; point?: string | undefined } = {},
): Promise<void> {
  const settings = await place();
  const result = await lokiDriver.open(settings).restore(ctx, await chainOf(ctx, record, target, point));
  assert.deepEqual([result.missing, result.warnings], [[], []]);
  // Of another one, which looks at all that is there.
  const there = await lokiDriver.open(settings).inventory(ctx);
  assert.deepEqual(await told(there), expected.lines, JSON.stringify(target));
}

test('a Loki comes back as it was at any moment, with lines that came late', async (t) => {
  if (!(await needServer(t, 'loki-3'))) return;
  const at = await place();
  const settings = { ...at, follow_every: '200ms' };
  await log(at, 'shop', 400, 3_600_000);
  await log(at, 'shop', 20, 30_000);
  await using record = await recording(ctx);
  const component = lokiDriver.open(settings);
  const moments: Moment[] = [];
  const noted = async (): Promise<void> => void moments.push(await moment(settings, record));
  await record.follow(ctx, component, async () => {
    await noted();
    await log(at, 'shop', 5);
    await log(at, 'other', 700);
    await noted();
    await log(at, 'shop', 3, 90_000); // late
    await noted();
  });
  await log(at, 'shop', 4); // while nobody follows
  await ctx.sleep(BETWEEN_MS);
  moments.push(await moment(settings, null));
  await log(at, 'new', 2);
  await ctx.sleep(BETWEEN_MS);
  await record.follow(ctx, component, async () => {
    await noted();
    await record.base(ctx, component);
    await log(at, 'shop', 2);
    await noted();
  });
  assert.deepEqual(await stretchesOf(ctx, record), ['1: ranges']);
  const [first, second] = record.points.map(({ point }) => point);
  for (const each of moments) await assertBack(record, each, { point: first });
  const [oldest, newest] = [moments[0] ?? assert.fail(), moments.at(-1) ?? assert.fail()];
  await assertBack(record, newest, { point: second });
  await assertBack(record, newest, { target: { kind: 'latest' }, point: first });
  await assertBack(record, oldest, { target: { kind: 'immediate' }, point: first });
});

test('each line is there once, wherever following is killed or the store fails', async (t) => {
  if (!(await needServer(t, 'loki-3'))) return;
  const at = await place();
  const settings = { ...at, follow_every: '50ms' };
  await using record = await recording(ctx);
  const component = lokiDriver.open(settings);
  await log(at, 'shop', 10);
  await record.follow(ctx, component, () => record.reached(ctx));
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  const random = randomOf(seed);
  for (let kill = 0; kill < 5; kill++) {
    const work = async (): Promise<void> => {
      for (let n = 0; n < 6; n++) {
        await log(at, `app ${n % 2}`, 4, random() < 0.3 ? 50_000 : 0);
        await ctx.sleep(random() * 150);
      }
    };
    await followTillFull(ctx, record, component, { random, piecesMax: 6, work });
  }
  await record.follow(ctx, component, () => record.reached(ctx));
  await assertBack(record, await moment(settings, null), { target: { kind: 'latest' } });
  assert.deepEqual(await stretchesOf(ctx, record), ['1: ranges']);
});
