// Every driver's server, started as a sandbox: what a drill stands on.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import type { Driver } from '../src/core/driver.ts';
import { liveContext } from '../src/core/testing.ts';
import { filesDriver } from '../src/drivers/files/driver.ts';
import { postgresqlDriver } from '../src/drivers/postgresql/driver.ts';
import { redisDriver } from '../src/drivers/redis/driver.ts';
import { processSandboxes } from '../src/sandboxes/process/runner.ts';
import { installed, type ServerName } from './servers/install.ts';
import { missing } from './servers/need.ts';

const SERVERS: readonly { driver: Driver; version: string; server: ServerName | null }[] = [
  { driver: postgresqlDriver, version: '15.18', server: 'postgres-15' },
  { driver: postgresqlDriver, version: '17.10', server: 'postgres-17' },
  { driver: redisDriver, version: 'redis 7.0.15', server: 'redis-7' },
  { driver: redisDriver, version: 'valkey 9.1.2', server: 'valkey-9' },
  { driver: filesDriver, version: 'any', server: null },
];

for (const { driver, version, server } of SERVERS) {
  test(`a sandbox for ${driver.kind} ${version} starts empty and is gone afterwards`, {
    skip: server ? await missing(server) : false,
  }, async () => {
    const path = server ? await installed(server) : '';
    const directory = server?.startsWith('postgres') ? path : dirname(path);
    const ctx = liveContext({ env: { ...process.env, PATH: `${directory}:${process.env.PATH}` } });
    let dir: string;
    {
      await using sandbox = await processSandboxes().start(ctx, driver, version);
      dir = sandbox.dir;
      const probe = await sandbox.component.probe(ctx);
      assert.equal(probe.holdsData, null);
      if (server) assert.equal(probe.version.split('.')[0], version.split('.')[0], 'of the major that was asked for');
    }
    assert.ok(!existsSync(dir));
  });
}
