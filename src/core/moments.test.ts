// How often a service is looked at that has no log of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Failure } from './errors.ts';
import type { Feed } from './journal.ts';
import { eachRound, positionAt, withBases } from './moments.ts';
import { testContext } from './testing.ts';

/** Pauses after rounds that look and move something for so long. */
async function pausesOf(everyMs: number, rounds: readonly { lookMs: number; moveMs: number }[]): Promise<number[]> {
  let nowMs = 0;
  const pauses: number[] = [];
  const sleep = async (ms: number): Promise<void> => void pauses.push(ms);
  const ctx = testContext({ monotonicMs: () => nowMs, sleep });
  const goesOn = (): boolean => pauses.length < rounds.length;
  await eachRound(ctx, everyMs, goesOn, async (moving) => {
    const { lookMs = 0, moveMs = 0 } = rounds[pauses.length] ?? {};
    nowMs += lookMs;
    await moving(async () => void (nowMs += moveMs));
  });
  return pauses;
}

test('looking takes a quarter of the time at most', async () => {
  const rounds = [
    { lookMs: 100, moveMs: 0 },
    { lookMs: 60_000, moveMs: 0 },
  ];
  assert.deepEqual(await pausesOf(2000, rounds), [1900, 180_000]);
});

test('what came is not left waiting because much came before: else it would be ever more', async () => {
  const rounds = [
    { lookMs: 100, moveMs: 600_000 },
    { lookMs: 100, moveMs: 1000 },
  ];
  assert.deepEqual(await pausesOf(2000, rounds), [300, 900]);
});

test('a point that can not be taken stops nothing, and is taken again', async () => {
  const warned: string[] = [];
  const sleep = async (ms: number): Promise<void> => void (ms > 0 && pauses.push(ms));
  const pauses: number[] = [];
  const log = { ...testContext().log, warn: (message: string) => void warned.push(message) };
  const ctx = testContext({ sleep, log });
  const taken = Promise.withResolvers<void>();
  let tries = 0;
  const feed: Pick<Feed, 'lineage' | 'bases' | 'base'> = {
    lineage: () => null,
    bases: async () => [],
    async base() {
      tries += 1;
      if (tries < 3) throw new Failure('privileges', 'one object may not be read');
      taken.resolve();
      return 'point';
    },
  };
  await withBases(ctx, feed, async ({ signal }, bases) => {
    bases.need(positionAt(0), 'there is none');
    signal.addEventListener('abort', () => taken.reject(signal.reason));
    await taken.promise;
  });
  assert.equal(tries, 3);
  assert.deepEqual(pauses, [60_000, 120_000]);
  assert.match(warned[0] ?? '', /a base could not be taken: the log is followed/);
});
