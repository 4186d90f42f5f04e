import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { isFailure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { freshKey } from './crypto.ts';
import { goTime, putNamed, type Vault } from './documents.ts';
import { repositoryLocks } from './locks.ts';
import { keysOf } from './testing.ts';

const MINUTE_MS = 60_000;
const vaultOf = (): Vault => ({ bucket: memoryBucket(), key: freshKey() });
const isLocked = (error: unknown): boolean => isFailure(error, 'locked');

/** The lock of somebody else, as restic writes it, and what we add. */
async function leave(ctx: TestContext, vault: Vault, fields: object): Promise<string> {
  return await putNamed(ctx, vault, 'locks', {
    time: goTime(ctx.now()),
    exclusive: true,
    hostname: hostname(),
    username: 'me',
    pid: deadPid(),
    uid: 0,
    gid: 0,
    boot_id: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    pid_namespace: readlinkSync('/proc/self/ns/pid'),
    ...fields,
  });
}
function deadPid(): number {
  return spawnSync('true').pid;
}

test('many may share, and one who wants it alone has to wait', async () => {
  const [ctx, vault] = [testContext(), vaultOf()];
  const locks = repositoryLocks(vault);
  {
    await using _a = await locks.acquire(ctx, 'shared');
    await using _b = await locks.acquire(ctx, 'shared');
    await assert.rejects(locks.acquire(ctx, 'exclusive'), isLocked);
    assert.equal((await keysOf(ctx, vault.bucket)).length, 2);
  }
  assert.deepEqual(await keysOf(ctx, vault.bucket), []);
  await using _alone = await locks.acquire(ctx, 'exclusive');
  await assert.rejects(locks.acquire(ctx, 'exclusive'), isLocked);
  await assert.rejects(locks.acquire(ctx, 'shared'), isLocked);
});

test('a writer waits a while for one who frees space', async () => {
  const vault = vaultOf();
  let waits = 0;
  const ctx = testContext();
  const locks = repositoryLocks(vault);
  const exclusive = await locks.acquire(ctx, 'exclusive');
  const sleep = async (ms: number): Promise<void> => {
    if (++waits === 2) await exclusive[Symbol.asyncDispose]();
    await ctx.sleep(ms);
  };
  await using _shared = await locks.acquire({ ...ctx, sleep }, 'shared');
  assert.equal(waits, 2);
});

test('a lock whose process died on this machine since this boot is dropped (fault 6)', async () => {
  const [ctx, vault] = [testContext(), vaultOf()];
  await leave(ctx, vault, {});
  await using _lock = await repositoryLocks(vault).acquire(ctx, 'exclusive');
  assert.equal((await keysOf(ctx, vault.bucket)).length, 1);
});

test('a lock of an earlier life of this process is dropped (fault 6)', async () => {
  const [ctx, vault] = [testContext(), vaultOf()];
  await leave(ctx, vault, { pid: process.pid });
  await using _lock = await repositoryLocks(vault).acquire(ctx, 'exclusive');
  assert.equal((await keysOf(ctx, vault.bucket)).length, 1);
});

test('a lock is not dropped without proof that its process is dead (fault 6)', async () => {
  const doubts = {
    'another host': { hostname: 'elsewhere' },
    'another boot': { boot_id: 'x' },
    'another container': { pid_namespace: 'pid:[1]' },
    'stock restic, which does not say which boot': { boot_id: null },
    alive: { pid: process.ppid },
  };
  for (const [doubt, fields] of Object.entries(doubts)) {
    const [ctx, vault] = [testContext(), vaultOf()];
    await leave(ctx, vault, fields);
    ctx.advance(25 * MINUTE_MS);
    await assert.rejects(repositoryLocks(vault).acquire(ctx, 'exclusive'), isLocked, doubt);
    ctx.advance(10 * MINUTE_MS);
    await using _lock = await repositoryLocks(vault).acquire(ctx, 'exclusive');
  }
});

test('a lock counts for half an hour by its own time and by the clock of the bucket (faults 6 and 10)', async () => {
  const [ctx, vault] = [testContext(), vaultOf()];
  await leave(ctx, vault, { hostname: 'elsewhere', time: '2020-01-01T00:00:00Z' }); // its clock is wrong
  await assert.rejects(repositoryLocks(vault).acquire(ctx, 'exclusive'), isLocked);
  const other = vaultOf();
  const old = { ...ctx, now: () => new Date(ctx.now().getTime() - 60 * MINUTE_MS) };
  await putNamed(old, other, 'locks', { time: goTime(ctx.now()), exclusive: true, hostname: 'elsewhere', pid: 1 });
  await assert.rejects(repositoryLocks(other).acquire(ctx, 'exclusive'), isLocked);
});

test('a lock that can not be read stands in the way until it is old', async () => {
  const [ctx, vault] = [testContext(), vaultOf()];
  await vault.bucket.put(ctx, `locks/${'0'.repeat(64)}`, Buffer.from('rubbish'));
  await assert.rejects(repositoryLocks(vault).acquire(ctx, 'shared'), isLocked);
  ctx.advance(31 * MINUTE_MS);
  await using _lock = await repositoryLocks(vault).acquire(ctx, 'shared');
});

test('a lock is kept alive, and there is always one', async () => {
  const [ctx, vault] = [testContext(), vaultOf()];
  const locks = repositoryLocks(vault);
  await using lock = await locks.acquire(ctx, 'shared');
  const [first] = await keysOf(ctx, vault.bucket);
  for (let minute = 0; minute < 60; minute += 4) {
    ctx.advance(4 * MINUTE_MS);
    await lock.touch(ctx);
    assert.equal((await keysOf(ctx, vault.bucket)).length, 1);
  }
  assert.notEqual((await keysOf(ctx, vault.bucket))[0], first);
  await assert.rejects(locks.acquire(ctx, 'exclusive'), isLocked);
});

for (const shown of ['the name that it had before', 'none of its names']) {
  test(`an exclusive lock is seen while it is refreshed, also when a listing shows ${shown}`, async () => {
    const [ctx, vault] = [testContext(), vaultOf()];
    await using lock = await repositoryLocks(vault).acquire(ctx, 'exclusive');
    let listings = 0;
    const bucket: Bucket = {
      ...vault.bucket,
      async *list(within, prefix) {
        const objects = await Array.fromAsync(vault.bucket.list(within, prefix));
        listings += 1;
        if (listings > 1) return yield* objects;
        const [old] = await keysOf(ctx, vault.bucket);
        ctx.advance(6 * MINUTE_MS);
        await lock.touch(ctx);
        yield* objects.filter(({ key }) => key !== old || shown.includes('before'));
      },
    };
    const impatient = { ...ctx, sleep: () => Promise.reject(new Error('it waits')) };
    await assert.rejects(repositoryLocks({ ...vault, bucket }).acquire(impatient, 'shared'), /it waits/);
  });
}

test('who was taken for dead hears of it (fault 7)', async () => {
  const [ctx, vault] = [testContext(), vaultOf()];
  await using lock = await repositoryLocks(vault).acquire(ctx, 'shared');
  ctx.advance(40 * MINUTE_MS); // in standby
  {
    await using _other = await repositoryLocks(vault).acquire(ctx, 'exclusive');
  }
  const isLost = (error: unknown): boolean => isFailure(error, 'lease-lost');
  await assert.rejects(lock.touch(ctx), isLost);
  await assert.rejects(lock.assertHeld(ctx), isLost, 'for ever');
  assert.deepEqual(await keysOf(ctx, vault.bucket), []);
});

test('a lock whose deletion fails is left behind, and no more than that', async () => {
  const ctx = testContext();
  const vault = vaultOf();
  const { delete: _, ...rest } = vault.bucket;
  const stubborn: Vault = { ...vault, bucket: { ...rest, delete: () => Promise.reject(new Error('no')) } };
  {
    await using _lock = await repositoryLocks(stubborn).acquire(ctx, 'exclusive');
  }
  assert.equal(ctx.logged.length, 1);
  await using _next = await repositoryLocks(vault).acquire(ctx, 'exclusive');
});
