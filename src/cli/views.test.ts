import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findingsBook } from '../engine/findings.ts';
import { findingLines } from './views.ts';

test('a name with lines of its own does not speak for Lifeboat: they are set in', () => {
  const book = findingsBook();
  book.add({
    check: 'path /a\npass: all is well is the same',
    verdict: 'fail',
    detail: 'it is\nmissing',
    hint: 'look',
  });
  assert.deepEqual(findingLines(book.sum()), [
    'fail: path /a\n    pass: all is well is the same: it is\n    missing\n  look',
  ]);
});
