// How often a service is looked at that has no log of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eachRound } from './moments.ts';
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
