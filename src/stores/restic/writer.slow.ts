// What is slow by nature: that memory does not grow with the data.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import type { Bytes } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { noise, rig } from './writer-testing.ts';

const MIB = 1024 * 1024;
/** Peaks differ by half of this from run to run; a leak of a tenth of the 2.7 GiB more exceeds it. */
const GROWN_MIB_MAX = 128;
/** As bin/lifeboat starts Node. */
const FLAGS = ['--disable-warning=ExperimentalWarning', '--min-semi-space-size=8', '--max-semi-space-size=8'];
const MALLOC = { MALLOC_MMAP_THRESHOLD_: '1048576' };
const CHILD = 'LIFEBOAT_TEST_STREAM_MIB';

const wanted = process.env[CHILD];
if (wanted) await writeMuch(Number(wanted));
else {
  test('10 times the data takes no more memory', { timeout: 600_000 }, () => {
    const [small, large] = [peakMiB(300), peakMiB(3000)];
    assert.ok(large < 512, `${large} MiB`);
    assert.ok(large < small + GROWN_MIB_MAX, `${small} MiB, then ${large} MiB`);
  });
}

function peakMiB(streamMiB: number): number {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...FLAGS, import.meta.filename], {
    env: { ...process.env, ...MALLOC, [CHILD]: `${streamMiB}`, NODE_TEST_CONTEXT: undefined },
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return Number(stdout);
}

/** Streams that do not repeat, four at a time, to a bucket that forgets. */
async function writeMuch(streamMiB: number): Promise<void> {
  const bucket: Bucket = {
    ...memoryBucket(),
    put: async (ctx, key, body) => ({ key, bytes: 'length' in body ? body.length : 0, modifiedAt: ctx.now() }),
  };
  const { ctx, writer } = rig({ bucket });
  await using w = await writer({ compressionLevel: 3 });
  await Promise.all([1, 2, 3, 4].map((seed) => w.addStream(ctx, cheap(streamMiB / 4, seed))));
  await w.flush(ctx);
  console.log(Math.round(process.resourceUsage().maxRSS / 1024));
}

/** Numbered copies of one block: quick to make, and no two alike. */
async function* cheap(mib: number, seed: number): Bytes {
  const block = noise(MIB, `${seed}`);
  for (let i = 0; i < mib; i++) {
    for (let at = 0; at < MIB; at += 4096) block.writeUInt32LE(i, at);
    yield block;
  }
}
