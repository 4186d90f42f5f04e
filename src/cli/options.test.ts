import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { filesStack } from './testing.ts';

test('an option for names does not take the words after it', async () => {
  using stack = await filesStack();
  assert.equal((await stack.run('show', '--store', 'one,two', 'latest')).exit, 0);
  assert.equal((await stack.run('verify', '--store', 'one', '--store', 'two', 'latest')).exit, 0);
  assert.equal((await stack.run('backup', '--to', 'one', 'docs')).exit, 0);
  const told = await stack.run('show', '--store', 'one,', 'latest');
  assert.equal(told.exit, 2);
  assert.match(told.failure, /a name between the commas is missing/);
});

test('a file that can not be written is refused before the work', async () => {
  using stack = await filesStack();
  const nowhere = join(stack.dir, 'no', 'file');
  const extracted = await stack.run('extract', '--from', 'docs', '--path', 'a.txt', '--output', nowhere);
  assert.equal(extracted.exit, 2);
  assert.match(extracted.failure, /--output .*: there is no folder/);
  const drilled = await stack.run('drill', '--evidence', nowhere);
  assert.match(drilled.failure, /--evidence .*: there is no folder/);
  assert.match((await stack.run('drill', '--evidence', stack.dir)).failure, /is a folder, not a file/);
  assert.match((await stack.run('drill', 'history')).text, /no drill yet/);
});
