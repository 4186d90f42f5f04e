// The table of version pairs: what each server holds, captured and restored into each, in every way that is allowed.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { needServer } from '../../../test/servers/need.ts';
import { type RedisName, redisNames, startRedis } from '../../../test/servers/redis.ts';
import { inventoryFrom, inventoryOf } from '../../core/inventory.ts';
import type { Finding } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { capture, liveInventory } from './capture.ts';
import { compare } from './compare.ts';
import { restore, type Way } from './restore.ts';
import { readSettings } from './settings.ts';
import { fill } from './testing.ts';

const all: readonly Way[] = ['master', 'restore-commands', 'logical'];
const logical: readonly Way[] = ['logical'];
const TABLE: Readonly<Record<RedisName, Readonly<Record<RedisName, readonly Way[]>>>> = {
  'redis-7': { 'redis-7': all, 'redis-8': all, 'valkey-8': all, 'valkey-9': all },
  'redis-8': { 'redis-7': logical, 'redis-8': all, 'valkey-8': logical, 'valkey-9': logical },
  'valkey-8': { 'redis-7': logical, 'redis-8': all, 'valkey-8': all, 'valkey-9': all },
  'valkey-9': { 'redis-7': logical, 'redis-8': logical, 'valkey-8': logical, 'valkey-9': all },
};

describe('what comes back is what was there, whatever the version', () => {
  for (const from of redisNames) {
    test(`captured from ${from}`, async (t) => {
      if (!(await needServer(t, ...redisNames))) return;
      const ctx = liveContext();
      await using source = await startRedis(from);
      await fill(ctx, { url: source.url }, true);
      const parts = memoryParts();
      const settings = readSettings({ url: source.url });
      const captured = await capture(ctx, settings, parts.sink);
      assert.equal(captured.totals.databases, 16);
      for (const to of redisNames) {
        await using target = await startRedis(to);
        const into = readSettings({ url: target.url });
        for (const way of all) {
          await t.test(`into ${to} by ${way}`, async () => {
            const options = { replace: true };
            const restoring = restore(ctx, into, { base: parts.source }, options, way);
            if (!TABLE[from][to].includes(way)) {
              await assert.rejects(restoring, { code: 'version-mismatch' });
              return;
            }
            const { method, warnings } = await restoring;
            assert.equal(method, way);
            const actual = inventoryFrom(await liveInventory(ctx, into));
            const findings = await Array.fromAsync(compare(ctx, inventoryOf(parts.source), actual));
            const wrong = findings.filter(({ verdict }) => verdict !== 'pass').map(told);
            if (warnings.length === 0) assert.deepEqual(wrong, []);
            else assert.match(warnings.join(), /hash fields no longer expire/);
          });
        }
      }
    });
  }
});

function told({ check, verdict, detail }: Finding): string {
  return `${check}: ${verdict}, ${detail}`;
}
