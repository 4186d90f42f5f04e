import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { freshKey } from './crypto.ts';
import { openPool } from './pool.ts';
import { budget } from './pool-budget.ts';

const SETTINGS = { key: freshKey(), compressionLevel: 3, workers: 1 };
const PIECES = { buffer: new SharedArrayBuffer(8), spans: Uint32Array.of(0, 8) };
/** Too dear for the caller's own thread. */
const COST = 1024 * 1024;

test('a thread that dies fails all its jobs, and those that come later', async () => {
  const script = new URL('data:text/javascript,setTimeout(() => process.exit(7), 50)');
  await using pool = openPool({ ...SETTINGS, script });
  const jobs = [1, 2, 3].map(() => pool.run('hash', PIECES, { cost: COST }));
  for (const job of jobs) await assert.rejects(job, (error) => isFailure(error, 'program-failed'));
  await assert.rejects(pool.run('hash', PIECES, { cost: COST }), (error) => isFailure(error, 'program-failed'));
});

test('an error in a thread is the error of its job only', async () => {
  await using pool = openPool(SETTINGS);
  const impossible = { ...PIECES, spans: Uint32Array.of(0, 9) };
  await assert.rejects(pool.run('hash', impossible, { cost: COST }), RangeError);
  assert.equal((await pool.run('hash', PIECES, { cost: COST })).ids.length, 32);
});

test('little work starts no thread, and is done all the same', async () => {
  const script = new URL('data:text/javascript,process.exit(7)');
  await using pool = openPool({ ...SETTINGS, script });
  assert.equal((await pool.run('hash', PIECES, { cost: 8 })).ids.length, 32);
  await assert.rejects(pool.run('hash', { ...PIECES, spans: Uint32Array.of(0, 9) }, { cost: 8 }), RangeError);
  assert.deepEqual(await pool.runAll('finish', null), [{ packs: [] }]);
});

test('closing ends the jobs that wait, and none is taken afterwards', async () => {
  const pool = openPool(SETTINGS);
  const buffer = new SharedArrayBuffer(64 * 1024 * 1024);
  const job = pool.run('hash', { buffer, spans: Uint32Array.of(0, buffer.byteLength) }, { cost: COST });
  const ended = assert.rejects(job, (error) => isFailure(error, 'interrupted'));
  await pool[Symbol.asyncDispose]();
  await ended;
  await assert.rejects(pool.run('hash', PIECES, { cost: COST }), (error) => isFailure(error, 'interrupted'));
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
