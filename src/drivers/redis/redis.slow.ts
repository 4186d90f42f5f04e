// Values of 200 MB: captured, compared and restored in each way, in memory that does not grow with them.

import assert from 'node:assert/strict';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline as pipe } from 'node:stream/promises';
import { test } from 'node:test';
import { needServer } from '../../../test/servers/need.ts';
import { startRedis } from '../../../test/servers/redis.ts';
import { inventoryFrom, inventoryOf } from '../../core/inventory.ts';
import type { Bytes, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { capture, liveInventory, RDB_PART } from './capture.ts';
import { compare } from './compare.ts';
import { restore } from './restore.ts';
import { readSettings } from './settings.ts';
import { open } from './testing.ts';

const BYTES = 200_000_000;
/** A server is silent while it makes or drops so much. */
const timeout = '5m';
const RSS_BYTES_MAX = 512 * 2 ** 20;

/** The RDB in a file, everything else in memory. */
function parts(file: string): { sink: Sink; source: Source } {
  const { sink, source } = memoryParts();
  let bytes = 0;
  async function* copies(body: Bytes): AsyncIterable<Buffer> {
    for await (const chunk of body) {
      bytes += chunk.length;
      yield Buffer.from(chunk);
    }
  }
  return {
    sink: {
      ...sink,
      async put(ctx, name, body, meta) {
        if (name !== RDB_PART) return await sink.put(ctx, name, body, meta);
        await pipe(Readable.from(copies(body), { objectMode: true }), createWriteStream(file));
        return { name, bytes, digest: '', point: '', component: '' };
      },
    },
    source: {
      ...source,
      part: async (ctx, name) => {
        if (name !== RDB_PART) return await source.part(ctx, name);
        return { name, bytes, digest: '', point: '', component: '' };
      },
      get: (ctx, name, range) => (name === RDB_PART ? createReadStream(file) : source.get(ctx, name, range)),
    },
  };
}

test('values of 200 MB come back in every way, in bounded memory', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const dir = await mkdtemp(join(tmpdir(), 'lifeboat-large-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  await using server = await startRedis('redis-7');
  await using connection = await open(ctx, { url: server.url, timeout });
  await connection.call('SETRANGE', 'compressible', BYTES, 'end');
  await connection.call('EVAL', SCRIPT, '0', 200);
  const { sink, source } = parts(join(dir, 'dump.rdb'));
  await capture(ctx, readSettings({ url: server.url, timeout }), sink);
  for (const way of ['master', 'logical'] as const) {
    await using target = await startRedis('redis-7');
    const settings = readSettings({ url: target.url, timeout });
    await restore(ctx, settings, { base: source }, {}, way);
    const actual = inventoryFrom(await liveInventory(ctx, settings));
    const findings = await Array.fromAsync(compare(ctx, inventoryOf(source), actual));
    assert.deepEqual(
      findings.map(({ verdict }) => verdict),
      ['pass', 'pass', 'pass', 'pass'],
      way,
    );
  }
  await using target = await startRedis('redis-7');
  const byValue = restore(ctx, readSettings({ url: target.url, timeout }), { base: source }, {}, 'restore-commands');
  await assert.rejects(byValue, { code: 'version-mismatch' }, 'one argument of 200 MB is not tried');
  const peak = process.resourceUsage().maxRSS * 1024;
  t.diagnostic(`${Math.round(peak / 2 ** 20)} MiB`);
  assert.ok(peak < RSS_BYTES_MAX, `${Math.round(peak / 2 ** 20)} MiB at most`);
});

test('a target that cannot call back is restored key by key', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await using connection = await open(ctx, { url: server.url });
  await connection.call('SET', 'key', 'value');
  const { sink, source } = memoryParts();
  await capture(ctx, readSettings({ url: server.url }), sink);
  // It calls from another address than it is reached at, and is not let in.
  await using target = await startRedis('redis-7', { args: ['--bind-source-addr', '127.0.0.2'] });
  const { method, warnings } = await restore(ctx, readSettings({ url: target.url }), { base: source });
  assert.equal(method, 'restore-commands');
  assert.match(warnings.join(), /did not call back/);
});

/** What repeats only every MiB is not compressed, so the RDB has it as it is. */
const SCRIPT = `
  local words = {}
  for n = 1, 131072 do words[n] = string.format('%08x', (n * 2654435761) % 4294967296) end
  local value = string.rep(table.concat(words), tonumber(ARGV[1]))
  redis.call('SET', 'plain', value)
  redis.call('RPUSH', 'list', 'before', value, 'after')
  redis.call('HSET', 'hash', 'field', value, 'other', 'x')
  redis.call('SADD', 'set', value)
`;
