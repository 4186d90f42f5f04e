import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockOf } from './clock.ts';

test('two clocks that are one are never told apart, whenever in a millisecond and on the way they were read', () => {
  for (let fraction = 0; fraction < 1; fraction += 0.111) {
    for (const tookMs of [0.1, 1, 3.2, 5]) {
      for (const share of [0, 0.5, 1]) {
        const { aheadMs, errorMs } = clockOf({ before: 1000, tookMs, at: 1000 + fraction + share * tookMs });
        assert.ok(Math.abs(aheadMs) <= errorMs, `${aheadMs} ms ± ${errorMs} ms: ${fraction}, ${tookMs}, ${share}`);
      }
    }
  }
});
