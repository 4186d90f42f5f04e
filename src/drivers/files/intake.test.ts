import assert from 'node:assert/strict';
import { lstatSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { digestingIntake, storingIntake } from './intake.ts';
import { type FileReader, fileReader } from './read.ts';
import { freshDir } from './testing.ts';
import { warningList } from './warnings.ts';
import { writtenFiles } from './written.ts';

test('where the disk takes long, each file is left to a thread without another try', async () => {
  const root = freshDir();
  const found = ['a', 'b', 'c'].map((name) => {
    const path = join(root, name);
    writeFileSync(path, name);
    return { name: `/${name}`, path: Buffer.from(path), stat: lstatSync(path, { bigint: true }) };
  });
  const ctx = liveContext();
  let tries = 0;
  const reader: FileReader = {
    ...fileReader(ctx, root),
    readNow() {
      tries += 1;
      return undefined;
    },
  };
  const storing = { sink: memoryParts().sink, reader, warnings: warningList(), previous: undefined };
  for (const intake of [storingIntake(ctx, storing), digestingIntake(ctx, reader, writtenFiles())]) {
    tries = 0;
    const entries = await intake.all(found, new Map());
    assert.deepEqual(
      found.map((each) => entries.get(each)?.bytes),
      [1, 1, 1],
    );
    assert.equal(tries, found.length);
  }
});
