// What is slow by nature: that memory does not grow with the length of a journal.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { localBucket } from '../../buckets/local/bucket.ts';
import { RANGE_BYTES_MAX } from '../../core/journal.ts';
import { giveBackMemory } from '../../core/memory.ts';
import { testContext } from '../../core/testing.ts';
import { COMPONENT, range, start, stretches } from '../suite/journal-rig.suite.ts';
import { findings, noise } from '../suite/rig.suite.ts';
import { createStore, made, openStore } from './testing.ts';

const MIB = 1024 * 1024;
const DAY = 86_400;
const GROWN_MIB_MAX = 10;
const LARGE = 48;

test('ranges as large as may be are written and read in less than 512 MiB', async () => {
  const ctx = testContext();
  const dir = mkdtempSync(join(ctx.scratch, 'journal-'));
  const bucket = localBucket(dir);
  await createStore(ctx, bucket);
  await using store = await openStore(ctx, bucket);
  await using writer = await store.journal(COMPONENT).write(ctx);
  const { id } = await writer.begin(ctx, start());
  for (let at = 0; at < LARGE; at++) await writer.append(ctx, range(at, at + 1, noise(at, RANGE_BYTES_MAX)));
  let ranges = 0;
  const place = { lineage: id, position: start().from.position };
  for await (const { body } of store.journal(COMPONENT).read(ctx, place, null)) {
    assert.ok(Buffer.compare(body, noise(ranges, RANGE_BYTES_MAX)) === 0);
    ranges += 1;
  }
  assert.equal(ranges, LARGE);
  const peakMib = process.resourceUsage().maxRSS / 1024;
  assert.ok(peakMib < 512, `${peakMib} MiB at the peak`);
  await bucket.close();
  rmSync(dir, { recursive: true });
});

test('a day of a range each second is told, checked and gone on with in little memory', async (t) => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  {
    await using writer = await store.journal(COMPONENT).write(ctx);
    await writer.begin(ctx, start());
    const body = Buffer.from('one second');
    for (let at = 0; at < DAY; at++) await writer.append(ctx, range(at, at + 1, body));
  }
  await giveBackMemory();
  const before = inUse();
  await using writer = await store.journal(COMPONENT).write(ctx);
  assert.equal(Number(writer.durable()?.position), DAY);
  assert.deepEqual(await stretches(ctx, store), [`1: 0-${DAY} ${DAY}`]);
  assert.deepEqual(await findings(ctx, store), []);
  await giveBackMemory(); // how much garbage there is says nothing: it grows with what the bucket in memory holds
  const grown = Math.round((inUse() - before) / MIB);
  t.diagnostic(`${grown} MiB more`);
  assert.ok(grown < GROWN_MIB_MAX, `${grown} MiB`);
});

/** By what lives, as what lies beside it and was not given back swings by 80 MiB. */
function inUse(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
