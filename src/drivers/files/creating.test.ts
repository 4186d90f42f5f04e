import assert from 'node:assert/strict';
import { closeSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { liveContext } from '../../core/testing.ts';
import { fileCreator } from './creating.ts';
import { freshDir } from './testing.ts';

test('files are made by threads for a while as soon as to make one takes long, and directly where it does not', async () => {
  for (const { eachMs, fewest, most } of [
    { eachMs: 0.01, fewest: 0, most: 0 },
    { eachMs: 5, fewest: 900, most: 998 },
  ]) {
    const dir = freshDir();
    let ms = 0;
    const create = fileCreator({ ...liveContext(), monotonicMs: () => (ms += eachMs) });
    let byThreads = 0;
    for (let i = 0; i < 1000; i++) {
      const fd = create(Buffer.from(join(dir, String(i))));
      if (fd instanceof Promise) byThreads += 1;
      closeSync(await fd);
    }
    assert.equal(readdirSync(dir).length, 1000);
    assert.ok(byThreads >= fewest && byThreads <= most, `${byThreads} were made by threads`);
  }
});
