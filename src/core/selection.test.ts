import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseForeign } from './selection.ts';

test('a selection by what a kind does not have is told with what it does have', () => {
  const refuse = (select: object) => refuseForeign('redis', select, ['keys', 'database'], 'choose by keys');
  refuse({ keys: ['a*'], database: '1', topics: undefined });
  assert.throws(() => refuse({ keys: ['a*'], topics: ['x'] }), {
    code: 'usage',
    message: 'redis has no topics to choose by',
    hint: 'choose by keys',
  });
});
