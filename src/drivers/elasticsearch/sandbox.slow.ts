import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { missing } from '../../../test/servers/need.ts';
import { liveContext } from '../../core/testing.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { elasticsearchDriver } from './driver.ts';

const name = 'opensearch-2';

test('a sandbox is a node of the major that was captured, empty, and gone afterwards', {
  skip: await missing(name),
}, async () => {
  const path = `${dirname(await installed(name))}:${process.env.PATH}`;
  const ctx = liveContext({ env: { ...process.env, PATH: path } });
  let dir: string;
  {
    await using sandbox = await processSandboxes({ readyMs: 180_000 }).start(
      ctx,
      elasticsearchDriver,
      'opensearch 2.11.0',
    );
    dir = sandbox.dir;
    const probe = await sandbox.component.probe(ctx);
    assert.match(probe.version, /^opensearch 2\./);
    assert.equal(probe.holdsData, null);
  }
  assert.ok(!existsSync(dir));
});

test('a version that this machine has no server of is told by name', async () => {
  const ctx = liveContext({ env: { PATH: '/nowhere' } });
  const need = { version: 'elasticsearch 8.11.0', dir: ctx.scratch, port: 1, password: 'x' };
  const wanted = { code: 'program-missing', message: /no elasticsearch 8.11.0 in PATH/, hint: /8\.x/ };
  await assert.rejects(elasticsearchDriver.serverSpec(ctx, need), wanted);
});
