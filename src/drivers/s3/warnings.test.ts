import assert from 'node:assert/strict';
import { test } from 'node:test';
import { warningList } from './warnings.ts';

test('of many objects that a capture warns of some are named, and the others counted', () => {
  const warnings = warningList();
  for (let n = 0; n < 100_000; n++) warnings.vanished(`docs/${n}`);
  warnings.changed('docs/a');
  const [first, ...others] = warnings.list();
  assert.match(first ?? '', /^docs\/a changed/);
  assert.deepEqual([others.length, others.at(-1)], [21, 'and 99980 more of that kind']);
});
