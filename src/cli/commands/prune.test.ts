import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesStack } from '../testing.ts';

test('prune of a plain store tells what it freed, although nothing there waits out a grace', async () => {
  using stack = await filesStack('plans: { nightly: { to: [two], keep: { last: 1 } } }\n');
  for (const _ of [1, 2]) assert.equal((await stack.run('backup', '--plan', 'nightly')).exit, 0);
  const { exit, text, failure } = await stack.run('prune', '--store', 'two', '--apply');
  assert.equal(exit, 0, failure);
  assert.match(text, /two: 3 points, 1 removed/);
  assert.match(text, /^freed [1-9]/m);
});

test('a wait that is no duration is a wrong line', async () => {
  using stack = await filesStack();
  const { exit, failure } = await stack.run('prune', '--wait', 'long');
  assert.equal(exit, 2);
  assert.match(failure, /--wait long is no duration/);
});

test('points that follow took are kept by the rule of its name, else by that of the first plan for what is followed', async () => {
  using stack = await filesStack('plans: { follow: { to: [two] }, nightly: { to: [two], keep: { last: 1 } } }\n');
  for (const _ of [1, 2]) assert.equal((await stack.run('backup', '--plan', 'follow')).exit, 0);
  const going = async (): Promise<number> => {
    const { json } = await stack.run('prune', '--store', 'two');
    return (json.stores as { removed: string[] }[])[0]?.removed.length ?? -1;
  };
  assert.equal(await going(), 0, 'its own plan has none');
  const text = readFileSync(stack.file, 'utf8');
  writeFileSync(stack.file, text.replace('follow: { to: [two] }, ', ''));
  assert.equal(await going(), 1);
  writeFileSync(stack.file, text.replace('follow: { to: [two] }', 'follow: { keep: { last: 2 } }'));
  assert.equal(await going(), 0);
});
