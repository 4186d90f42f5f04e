import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { freshKey, sha256 } from './crypto.ts';
import { checkPack } from './pack.ts';
import { openPool } from './pool.ts';
import { budget } from './pool-budget.ts';
import { giveBack, lentBuffers } from './pool-buffers.ts';
import { threadsOf } from './threads.ts';

const SETTINGS = { key: freshKey(), compressionLevel: 3 };
const PIECES = { buffer: new SharedArrayBuffer(8), spans: Uint32Array.of(0, 8) };
const IMPOSSIBLE = { ...PIECES, spans: Uint32Array.of(0, 9) };
const NEW = { ...PIECES, ids: sha256(new Uint8Array(8)), tree: false };
/** Too dear for the caller's own thread. */
const COST = 1024 * 1024;

/** Does its work, but dies of pieces that are impossible. */
const MORTAL = new URL(
  `data:text/javascript,import { parentPort } from 'node:worker_threads';
  parentPort.on('message', ({ job }) => job?.job?.spans?.[1] === 9 && process.exit(7));
  await import('${new URL('./blobs.worker.ts', import.meta.url)}');`,
);

test('a thread that dies fails all its jobs, and the next has another one', async () => {
  await using pool = openPool({ ...SETTINGS, threads: threadsOf(1, MORTAL) });
  const jobs = [1, 2, 3].map(() => pool.run('hash', IMPOSSIBLE, { cost: COST }));
  for (const job of jobs) await assert.rejects(job, isDeath);
  assert.equal((await pool.run('hash', PIECES, { cost: COST })).ids.length, 32);
});

test('a thread that dies with a pack is not forgotten by those whose pack it was, and is no matter to others', async () => {
  const threads = threadsOf(1, MORTAL);
  await using loser = openPool({ ...SETTINGS, threads });
  await using killer = openPool({ ...SETTINGS, threads });
  await using later = openPool({ ...SETTINGS, threads });
  assert.deepEqual(await loser.run('pack', NEW, { cost: COST }), { packs: [] });
  await assert.rejects(killer.run('hash', IMPOSSIBLE, { cost: COST }), isDeath);
  assert.deepEqual(await later.run('pack', NEW, { cost: COST }), { packs: [] });
  await assert.rejects(loser.runAll('finish', null), isDeath);
  const [finished] = await later.runAll('finish', null);
  assert.equal(finished?.packs.length, 1);
});

test('pools that share a thread keep their packs and their keys apart', async () => {
  const threads = threadsOf(1);
  const keys = [freshKey(), freshKey()];
  for (const turn of [1, 2]) {
    const pools = keys.map((key) => openPool({ key, compressionLevel: 0, threads }));
    for (const pool of pools) await pool.run('pack', NEW, { cost: COST });
    for (const [i, pool] of pools.entries()) {
      const [finished] = await pool.runAll('finish', null);
      const [pack] = finished?.packs ?? [];
      assert.equal(finished?.packs.length, 1, `turn ${turn}`);
      const bytes = Buffer.from(pack?.buffer ?? new ArrayBuffer(), 0, pack?.bytes);
      const damages = keys.map((key) => checkPack(key, bytes, Buffer.from(pack?.id ?? '', 'hex')).damages.length);
      assert.deepEqual(
        damages.map((count) => count === 0),
        [i === 0, i === 1],
      );
    }
    for (const pool of pools) await pool[Symbol.asyncDispose]();
  }
});

test('an error in a thread is the error of its job only', async () => {
  await using pool = openPool({ ...SETTINGS, threads: threadsOf(1) });
  await assert.rejects(pool.run('hash', IMPOSSIBLE, { cost: COST }), RangeError);
  assert.equal((await pool.run('hash', PIECES, { cost: COST })).ids.length, 32);
});

test('little work starts no thread, and is done all the same', async () => {
  const script = new URL('data:text/javascript,process.exit(7)');
  await using pool = openPool({ ...SETTINGS, threads: threadsOf(1, script) });
  assert.equal((await pool.run('hash', PIECES, { cost: 8 })).ids.length, 32);
  await assert.rejects(pool.run('hash', IMPOSSIBLE, { cost: 8 }), RangeError);
  assert.deepEqual(await pool.runAll('finish', null), [{ packs: [] }]);
});

test('closing ends the jobs that wait, and none is taken afterwards; others go on', async () => {
  const threads = threadsOf(1);
  await using other = openPool({ ...SETTINGS, threads });
  const pool = openPool({ ...SETTINGS, threads });
  const buffer = new SharedArrayBuffer(64 * 1024 * 1024);
  const job = pool.run('hash', { buffer, spans: Uint32Array.of(0, buffer.byteLength) }, { cost: COST });
  const ended = assert.rejects(job, isEnd);
  const going = other.run('hash', PIECES, { cost: COST });
  await pool[Symbol.asyncDispose]();
  await ended;
  await assert.rejects(pool.run('hash', PIECES, { cost: COST }), isEnd);
  assert.equal((await going).ids.length, 32);
});

test('a budget lets through in turn, goes over by one amount at most, and fails all who wait', async () => {
  const bytes = budget(10);
  const order: number[] = [];
  await bytes.take(9);
  await bytes.take(5);
  const waiting = [1, 2, 3].map((amount) => bytes.take(amount).then(() => order.push(amount)));
  await new Promise(setImmediate);
  assert.deepEqual(order, []);
  bytes.give(6);
  await new Promise(setImmediate);
  assert.deepEqual(order, [1, 2]);
  bytes.fail(new Error('over'));
  await assert.rejects(Promise.all(waiting), /over/);
  await assert.rejects(bytes.take(1), /over/);
});

test('what is lent is used again once it was given back, and no more than two are kept', () => {
  const memory = lentBuffers(100);
  const lent = [1, 2, 3, 4].map(() => memory.take());
  assert.equal(new Set(lent).size, 4);
  assert.ok(lent[2]);
  giveBack(lent[2]);
  assert.equal(memory.take(), lent[2]);
  for (const each of lent) giveBack(each);
  const again = new Set([1, 2, 3, 4].map(() => memory.take()));
  assert.equal(again.size, 4);
  assert.equal(lent.filter((each) => again.has(each)).length, 2);
});

function isDeath(error: unknown): boolean {
  return isFailure(error, 'program-failed');
}
function isEnd(error: unknown): boolean {
  return isFailure(error, 'interrupted');
}
