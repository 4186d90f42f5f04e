import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type FilesStack, filesStack } from '../testing.ts';

async function drilled(stack: FilesStack): Promise<readonly unknown[]> {
  const { exit, json } = await stack.run('drill', '--store', 'one');
  const { kit } = json.evidence as { kit: { verdict: string } | null };
  return [exit, kit?.verdict];
}

test('a recovery kit that opens the store no more is shown by drills and status until there is a new one (fault 20)', async () => {
  using stack = await filesStack();
  assert.match((await stack.run('init')).text, /one: \S+, opened by key [0-9a-f]{8}/);
  assert.deepEqual(await drilled(stack), [0, 'pass']);
  const next = join(stack.dir, 'next.password');
  writeFileSync(next, 'another');
  const changed = await stack.run('keys', 'passwd', '--new-password-file', next);
  assert.match(changed.text, /recovery kit with the old password opens nothing any more: lifeboat keys kit/);
  renameSync(next, join(stack.dir, 'one.password'));
  assert.deepEqual(await drilled(stack), [3, 'fail']);
  assert.match((await stack.run('doctor')).text, /fail +the recovery kit opens it/);
  const status = await stack.run('status');
  assert.equal(status.exit, 3);
  assert.match(status.text, /DOES NOT OPEN IT/);
  assert.equal((await stack.run('init')).exit, 0);
  assert.deepEqual(await drilled(stack), [3, 'fail'], 'another init made the old kit pass');
  assert.equal((await stack.run('keys', 'kit')).exit, 0);
  assert.deepEqual(await drilled(stack), [0, 'pass']);
  assert.equal((await stack.run('status')).exit, 0);
});
