// Very many objects of S3 take no more memory than some: the first backup, and one that lists and compares them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { missingTools } from '../servers/need.ts';
import { startGeneratedS3 } from '../servers/s3-generated.ts';
import { workspace } from './workspace.ts';

const OBJECTS = 40_000;
/** A part of what is promised for any number of them. */
const PEAK_MIB_MAX = 400;
const TIME = '/usr/bin/time';
const skip = missingTools(TIME);
const { dir, store, configure, run } = workspace('objects');

test(`${OBJECTS} objects in less than ${PEAK_MIB_MAX} MiB of memory, and none is read again`, { skip }, async (t) => {
  await using server = await startGeneratedS3(OBJECTS);
  const { endpoint, buckets } = server.settings;
  configure(`stack: shop
stores: { main: ${store('main')} }
components:
  objects: { kind: s3, endpoint: "${endpoint}", buckets: [${buckets}], access_key: nobody, secret_key: asks }
`);
  await run(0, 'init');
  const backup = async (): Promise<void> => {
    const counted = join(dir, 'counted');
    const args = ['--quiet', '--format', '%M', '--output', counted, 'bin/lifeboat'];
    const child = spawn(TIME, [...args, '--config', join(dir, 'lifeboat.yaml'), 'backup'], { stdio: 'ignore' });
    assert.deepEqual(await once(child, 'exit'), [0, null]);
    const peak = Number(readFileSync(counted, 'utf8')) / 1024;
    t.diagnostic(`${peak.toFixed(0)} MiB`);
    assert.ok(peak < PEAK_MIB_MAX, `${peak.toFixed(0)} MiB`);
  };
  await backup();
  const first = await server.reads();
  assert.ok(first >= OBJECTS);
  await server.change(1000);
  await backup();
  const again = (await server.reads()) - first;
  assert.ok(again >= OBJECTS / 1000 && again < OBJECTS / 2, `${again} reads`);
});
