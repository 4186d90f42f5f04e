import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { giveBackMemory } from './memory.ts';

test('memory that nobody has any more is given back at once, and what is in use stays', async () => {
  const kept = new SharedArrayBuffer(1024 * 1024);
  const gone = new WeakRef(new SharedArrayBuffer(1024 * 1024));
  await setImmediate(); // a reference is held for the turn it was made in
  await giveBackMemory();
  assert.equal(gone.deref(), undefined);
  assert.equal(kept.byteLength, 1024 * 1024);
});
