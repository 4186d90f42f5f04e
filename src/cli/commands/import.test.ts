import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesStack } from '../testing.ts';

test('import asks which store is meant when several can hold old backups', async () => {
  using stack = await filesStack();
  const third = `three: { format: plain, layout: dated, bucket: ${stack.dir}/three }`;
  writeFileSync(stack.file, readFileSync(stack.file, 'utf8').replace('  two:', `  ${third}\n  two:`));
  assert.equal((await stack.run('init')).exit, 0);
  const { exit, failure } = await stack.run('import');
  assert.equal(exit, 2);
  assert.match(failure, /several stores.*\nchoose one with --store: three, two/s);
});

test('a time zone that is none is a wrong line, whatever lies in the store', async () => {
  using stack = await filesStack();
  assert.equal((await stack.run('init')).exit, 0);
  const { exit, failure } = await stack.run('import', '--timezone', 'Europe/Madird');
  assert.equal(exit, 2);
  assert.match(failure, /Europe\/Madird is no time zone/);
});
