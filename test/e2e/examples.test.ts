import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { test } from 'node:test';
import { expectExit } from './lifeboat.ts';

test('every example is a right configuration', async () => {
  const files = globSync('examples/*/lifeboat.yaml');
  assert.notEqual(files.length, 0);
  for (const file of files) await expectExit(0, ['config', 'check', '--config', file]);
});
