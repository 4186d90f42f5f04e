// Throw-away servers: which program runs, and as whom.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { needServer } from '../../../test/servers/need.ts';
import { type RedisName, redisNames } from '../../../test/servers/redis.ts';
import { liveContext } from '../../core/testing.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { connect, readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import { textOf } from './resp.ts';
import { readSettings } from './settings.ts';

async function pathWith(...names: RedisName[]): Promise<string> {
  const programs = await Promise.all(names.map((name) => installed(name)));
  return programs.map((program) => dirname(program)).join(':');
}

test('a sandbox runs the nearest server that can load the data, and says when there is none', async (t) => {
  if (!(await needServer(t, 'redis-7', 'redis-8', 'valkey-8', 'valkey-9'))) return;
  const programFor = async (version: string, ...names: RedisName[]): Promise<string> => {
    const ctx = liveContext({ env: { ...process.env, PATH: await pathWith(...names) } });
    const need = { version, dir: '/nowhere', port: 1, password: 'canary' };
    const spec = await redisDriver.serverSpec(ctx, need);
    assert.ok(!JSON.stringify(spec.run).includes('canary'));
    return spec.run?.program ?? '';
  };
  assert.equal(await programFor('redis 8.2.0', 'redis-7', 'redis-8'), await installed('redis-8'));
  assert.equal(await programFor('redis 7.0.1', 'valkey-9', 'redis-8', 'redis-7'), await installed('redis-7'));
  assert.equal(await programFor('redis 7.0.1', 'valkey-9', 'redis-8'), await installed('redis-8'));
  assert.equal(await programFor('valkey 8.0.1', 'redis-8', 'valkey-9'), await installed('valkey-9'));
  await assert.rejects(programFor('valkey 9.0.0', 'redis-8', 'valkey-8'), { code: 'program-missing', hint: /valkey/ });
  await assert.rejects(programFor('redis 8.0.0', 'redis-7', 'valkey-9'), { code: 'program-missing' });
  await assert.rejects(programFor('', 'redis-7'), { code: 'version-mismatch' });
});

for (const name of redisNames) {
  test(`a sandbox of ${name} is nobody of importance, and looks at values before it takes them`, async (t) => {
    if (!(await needServer(t, name))) return;
    const ctx = liveContext({ env: { ...process.env, PATH: await pathWith(name) } });
    let settings: unknown;
    const driver = {
      ...redisDriver,
      open(given: unknown) {
        settings = given;
        return redisDriver.open(given);
      },
    };
    await using _ = await processSandboxes().start(ctx, driver, name.replace('-', ' ').concat('.0'));
    await using connection = await connect(ctx, readSettings(settings));
    const pid = (await readInfo(connection)).get('process_id');
    if (process.getuid?.() === 0) assert.notEqual(statSync(`/proc/${pid}`).uid, 0);
    if (name === 'valkey-9') return; // takes the setting, and does not show it
    const said = await connection.call('CONFIG', 'GET', 'sanitize-dump-payload');
    assert.equal(Array.isArray(said) && textOf(said[1] ?? null), 'yes');
  });
}
