// How every sandbox runner must behave, wherever its servers run.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { SandboxRunner } from '../core/driver.ts';
import { liveContext } from '../core/testing.ts';
import { tinyDriver } from './testing.ts';

export interface SandboxRig {
  /** A runner that gives up on a server after `readyMs`; `word` is what the version says its server does. */
  runner(readyMs: number, word: string): Promise<SandboxRunner> | SandboxRunner;
  /** What is left of its sandboxes: directories, notes. */
  leftovers(): readonly string[];
  /** Behaviours, by title, that make no sense for this runner, each with the reason. */
  readonly except?: Readonly<Record<string, string>>;
}

export function sandboxSuite(name: string, rig: SandboxRig): void {
  const { except = {} } = rig;
  const unused = new Set(Object.keys(except));
  const behaviour = (title: string, run: () => Promise<void>): void => {
    unused.delete(title);
    it(title, { skip: except[title] ?? false }, run);
  };
  const patient = async (word: string): Promise<SandboxRunner> => await rig.runner(30_000, word);
  describe(`sandboxes: ${name}`, () => {
    behaviour('a sandbox answers, and nothing is left of it afterwards', async () => {
      const ctx = liveContext();
      {
        await using sandbox = await (await patient('well')).start(ctx, tinyDriver, 'well');
        assert.equal((await sandbox.component.probe(ctx)).version, 'well');
        assert.notDeepEqual(rig.leftovers(), []);
      }
      assert.deepEqual(rig.leftovers(), []);
    });

    behaviour('a server of its own has a directory of its own', async () => {
      let dir = '';
      {
        await using sandbox = await (await patient('well')).start(liveContext(), tinyDriver, 'well');
        dir = sandbox.dir;
        assert.ok(existsSync(`${dir}/prepared`));
        assert.ok(existsSync(`${dir}/conf/server.js`));
      }
      assert.ok(!existsSync(dir));
    });

    behaviour('two sandboxes know nothing of each other', async () => {
      const ctx = liveContext();
      await using one = await (await patient('one')).start(ctx, tinyDriver, 'one');
      {
        await using two = await (await patient('two')).start(ctx, tinyDriver, 'two');
        assert.equal((await one.component.probe(ctx)).version, 'one');
        assert.equal((await two.component.probe(ctx)).version, 'two');
        assert.notEqual((await one.component.probe(ctx)).identity, (await two.component.probe(ctx)).identity);
      }
      assert.equal((await one.component.probe(ctx)).version, 'one');
    });

    behaviour('a server that dies is reported with its last words, and leaves nothing', async () => {
      await assert.rejects((await patient('dies')).start(liveContext(), tinyDriver, 'dies'), {
        code: 'program-failed',
        message: /exited with 3.*no such luck/s,
      });
      assert.deepEqual(rig.leftovers(), []);
    });

    behaviour('a server that never answers is given up, and leaves nothing', async () => {
      const hasty = await rig.runner(300, 'mute');
      await assert.rejects(hasty.start(liveContext(), tinyDriver, 'mute'), { code: 'timeout' });
      assert.deepEqual(rig.leftovers(), []);
    });

    behaviour('stopping while it starts leaves nothing', async () => {
      const stop = new AbortController();
      const ctx = liveContext({ signal: stop.signal });
      const sleep = async (ms: number): Promise<void> => {
        stop.abort();
        await ctx.sleep(ms);
      };
      await assert.rejects((await patient('mute')).start({ ...ctx, sleep }, tinyDriver, 'mute'));
      assert.deepEqual(rig.leftovers(), []);
    });

    behaviour('a kind without servers has no sandbox', async () => {
      const { serverSpec: _, ...without } = tinyDriver;
      await assert.rejects((await patient('well')).start(liveContext(), without, 'well'), { code: 'program-missing' });
    });

    it('every exception names a behaviour', () => assert.deepEqual([...unused], []));
  });
}
