// node bench/points.ts FOLDER COUNT: a restic store with that many points, in a process of its own, as it takes
// gigabytes of memory: programs that a large process starts are half a second late.

import { localBucket } from '../src/buckets/local/bucket.ts';
import { memoryBucket } from '../src/buckets/memory/bucket.ts';
import { bytesOf } from '../src/core/bytes.ts';
import { idOf } from '../src/core/manifest.ts';
import { mapBounded } from '../src/core/parallel.ts';
import type { RecoveryPoint } from '../src/core/point.ts';
import { captured, liveContext } from '../src/core/testing.ts';
import { resticFormat } from '../src/stores/restic/store.ts';

const FIRST_POINT = Date.parse('2024-01-01T02:00:00Z');
const DAY_MS = 86_400_000;
const PUTS_MAX = 16;

const [dir = '', points] = process.argv.slice(2);
await fill(dir, Number(points));

/** A point for each day, written by the store itself, yet first into memory: so many backups would take minutes. */
async function fill(dir: string, points: number): Promise<void> {
  const ctx = liveContext();
  const memory = memoryBucket();
  const settings = { stack: 'bench', password: 'bench' };
  await resticFormat.create(ctx, memory, settings);
  await using store = await resticFormat.open(ctx, memory, settings);
  for (let n = 0; n < points; n++) {
    const at = new Date(FIRST_POINT + n * DAY_MS);
    const id = idOf(at);
    await using draft = await store.begin(ctx, id, { stack: 'bench', components: [{ name: 'data', kind: 'files' }] });
    const sink = draft.sink('data');
    await sink.put(ctx, 'entries.ndjson', bytesOf(id));
    const receipt = await sink.receipt(ctx);
    await store.commit(ctx, draft, pointOf(id, at.toISOString(), receipt.bytes), [receipt]);
  }
  const disk = localBucket(dir);
  await mapBounded(memory.list(ctx, ''), PUTS_MAX, ({ key }) => disk.put(ctx, key, memory.get(ctx, key)));
}

function pointOf(id: string, at: string, bytes: number): RecoveryPoint {
  const cut = { position: id, at };
  const data = captured({ kind: 'files', cut, totals: { files: 1 }, parts: { count: 1, bytes } });
  const times = { startedAt: at, finishedAt: at, skewMs: 0 };
  return {
    format: 1,
    id,
    stack: 'bench',
    plan: null,
    ...times,
    status: 'complete',
    version: null,
    missed: null,
    components: { data },
  };
}
