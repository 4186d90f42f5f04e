import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { testContext } from '../core/testing.ts';
import { acquireLease } from './journal-lease.ts';
import type { JournalVault } from './journal-names.ts';
import { openVault } from './journal-vault.suite.ts';

const FOLDER = 'own/leases/journal/db/';
const MINUTE_MS = 60_000;
const ELSEWHERE = { host: 'elsewhere', boot: 'b', namespace: 'n', pid: 1, start: '1' };

async function putOther(ctx: Context, vault: JournalVault, name = 'other'): Promise<void> {
  await vault.putDocument(ctx, `${FOLDER}${name}.json`, { owner: ELSEWHERE, at: ctx.now().toISOString() });
}
async function keys(ctx: Context, { bucket }: JournalVault): Promise<string[]> {
  return await Array.fromAsync(bucket.list(ctx, ''), ({ key }) => key);
}

test('who asks for a lease in vain takes it from nobody', async () => {
  const ctx = testContext();
  const vault = openVault();
  await using lease = await acquireLease(ctx, vault, FOLDER);
  await putOther(ctx, vault); // he sees ours and goes away again
  ctx.advance(2 * MINUTE_MS);
  assert.equal(await lease.touch(ctx), true);
});

test('who was away for long gives up his lease to another one that is there', async () => {
  const ctx = testContext();
  const vault = openVault();
  await using lease = await acquireLease(ctx, vault, FOLDER);
  await putOther(ctx, vault);
  ctx.advance(6 * MINUTE_MS);
  await assert.rejects(lease.touch(ctx), { code: 'lease-lost' });
  await assert.rejects(lease.assertHeld(ctx), { code: 'lease-lost' });
});

test('what was stored after a long wait counts only when the lease is held', async () => {
  const ctx = testContext();
  const vault = openVault();
  await using lease = await acquireLease(ctx, vault, FOLDER);
  await lease.assertHeld(ctx);
  for (const key of await keys(ctx, vault)) await vault.bucket.delete(ctx, key);
  await lease.assertHeld(ctx);
  ctx.advance(6 * MINUTE_MS);
  await assert.rejects(lease.assertHeld(ctx), { code: 'lease-lost' });
});

test('a lease of another machine counts until it was silent for ten minutes', async () => {
  const ctx = testContext();
  const vault = openVault();
  await putOther(ctx, vault);
  const staleMs = ctx.now().getTime() + 10 * MINUTE_MS;
  ctx.advance(4 * MINUTE_MS);
  await assert.rejects(acquireLease(ctx, vault, FOLDER), (error) => {
    assert.ok(isFailure(error, 'locked'));
    assert.match(error.message, /process 1 on elsewhere since .*: it counts until 2026-01-01T00:10:0\d/);
    assert.ok(Math.abs((error.until?.getTime() ?? 0) - staleMs) < 10_000);
    return true;
  });
  assert.deepEqual(await keys(ctx, vault), [`${FOLDER}other.json`]);
  ctx.advance(7 * MINUTE_MS);
  await using _ = await acquireLease(ctx, vault, FOLDER);
  assert.equal((await keys(ctx, vault)).length, 1);
});

test('a lease that can not be read counts as long as it is young', async () => {
  const ctx = testContext();
  const vault = openVault();
  await vault.putDocument(ctx, `${FOLDER}other.json`, 'nonsense');
  await assert.rejects(acquireLease(ctx, vault, FOLDER), { code: 'locked' });
  ctx.advance(11 * MINUTE_MS);
  await using _ = await acquireLease(ctx, vault, FOLDER);
});
