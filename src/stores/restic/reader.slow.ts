// What is slow by nature: that memory does not grow with the number of requests.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../core/bytes.ts';
import { mapBounded } from '../../core/parallel.ts';
import { lookUp, openRun, startReading } from './reader-blobs.ts';
import { noise, rig } from './writer-testing.ts';

const MIB = 1024 * 1024;
const GROWN_MIB_MAX = 200;

const RUNS = 1600;

for (const bytes of [200_000, 260_000]) {
  test(`${RUNS} blobs of ${bytes} bytes, each in a pack of its own, are read in little memory`, async () => {
    const { ctx, writer, bucket, key, index } = rig();
    {
      await using w = await writer();
      await w.addStream(ctx, bytesOf(noise(bytes)));
      await w.flush(ctx);
    }
    const reading = startReading({ bucket, key, index });
    await using _pool = reading.pool;
    const blob = lookUp(index, index.idAt(0));
    const before = process.memoryUsage().rss;
    let most = 0;
    await mapBounded(Array.from({ length: RUNS }), 16, async () => {
      const { plain, release } = await openRun(ctx, reading, [blob]);
      assert.equal(plain[0]?.length, bytes);
      release();
      most = Math.max(most, process.memoryUsage().rss - before);
    });
    assert.ok(most < GROWN_MIB_MAX * MIB, `${Math.round(most / MIB)} MiB`);
  });
}
