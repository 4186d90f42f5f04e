// How every sandbox runner must behave, wherever its servers run.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { SandboxRunner } from '../core/driver.ts';
import { liveContext } from '../core/testing.ts';
import { tinyDriver } from './testing.ts';

export interface SandboxRig {
  /** A runner that gives up on a server after `readyMs`. */
  runner(readyMs: number): SandboxRunner;
  /** What is left of its sandboxes: directories, containers. */
  leftovers(): readonly string[];
}

export function sandboxSuite(rig: SandboxRig): void {
  const quick = rig.runner(30_000);
  describe(`sandboxes: ${quick.name}`, () => {
    it('a sandbox answers, and is gone afterwards', async () => {
      const ctx = liveContext();
      let dir = '';
      {
        await using sandbox = await quick.start(ctx, tinyDriver, 'well');
        dir = sandbox.dir;
        assert.equal((await sandbox.component.probe(ctx)).version, 'well');
        assert.ok(existsSync(`${dir}/prepared`));
        assert.ok(existsSync(`${dir}/conf/server.js`));
      }
      assert.ok(!existsSync(dir));
      assert.deepEqual(rig.leftovers(), []);
    });

    it('two sandboxes know nothing of each other', async () => {
      const ctx = liveContext();
      await using one = await quick.start(ctx, tinyDriver, 'one');
      {
        await using two = await quick.start(ctx, tinyDriver, 'two');
        assert.equal((await one.component.probe(ctx)).version, 'one');
        assert.equal((await two.component.probe(ctx)).version, 'two');
        assert.notEqual(one.dir, two.dir);
      }
      assert.equal((await one.component.probe(ctx)).version, 'one');
    });

    it('a server that dies is reported with its last words, and leaves nothing', async () => {
      await assert.rejects(quick.start(liveContext(), tinyDriver, 'dies'), {
        code: 'program-failed',
        message: /exited with 3.*no such luck/s,
      });
      assert.deepEqual(rig.leftovers(), []);
    });

    it('a server that never answers is given up, and leaves nothing', async () => {
      await assert.rejects(rig.runner(300).start(liveContext(), tinyDriver, 'mute'), { code: 'timeout' });
      assert.deepEqual(rig.leftovers(), []);
    });

    it('stopping while it starts leaves nothing', async () => {
      const stop = new AbortController();
      const ctx = liveContext({ signal: stop.signal });
      const sleep = async (ms: number) => {
        stop.abort();
        await ctx.sleep(ms);
      };
      await assert.rejects(quick.start({ ...ctx, sleep }, tinyDriver, 'mute'));
      assert.deepEqual(rig.leftovers(), []);
    });

    it('a kind without servers has no sandbox', async () => {
      const { serverSpec: _, ...without } = tinyDriver;
      await assert.rejects(quick.start(liveContext(), without, 'well'), { code: 'program-missing' });
    });
  });
}
