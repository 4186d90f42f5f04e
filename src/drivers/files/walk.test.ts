import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { liveContext } from '../../core/testing.ts';
import { freshDir } from './testing.ts';
import { walk } from './walk.ts';

test('files come in full batches, also where most names are excluded or directories', async () => {
  const root = freshDir();
  for (let i = 0; i < 100; i++) {
    const dir = join(root, String(i));
    mkdirSync(dir);
    for (const name of ['a.tmp', 'b.tmp', 'c.tmp', 'd.tmp', 'e']) writeFileSync(join(dir, name), '');
  }
  const settings = { root, paths: ['/'], exclude: ['*.tmp'] };
  const batches = await Array.fromAsync(walk(liveContext(), settings, assert.fail));
  assert.deepEqual(
    batches.map((batch) => batch.length),
    [64, 64, 64, 9],
  );
});
