// `lifeboat follow`, which is killed and stopped, and started again whenever it has ended.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { lifeboat } from '../e2e/lifeboat.ts';

export interface Follower {
  /** What is done while it is dead may take its time. */
  kill(meanwhile?: () => Promise<void>): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export function keepFollowing(cwd: string): Follower {
  let child: ChildProcess | undefined;
  let isOver = false;
  let ended: Promise<void> = Promise.resolve();
  let mayStart: Promise<void> = Promise.resolve();
  const said: string[] = [];

  async function runOnce(): Promise<void> {
    const onStart = (started: ChildProcess): void => void (child = started);
    const { code, stderr } = await lifeboat(['follow', '--log-level', 'warn'], { cwd, onStart });
    if (code !== null) said.push(`${code}: ${stderr.slice(-2000)}`);
  }
  async function run(): Promise<void> {
    while (!isOver) {
      ended = runOnce();
      await ended;
      await mayStart;
    }
  }
  const running = run();
  return {
    async kill(meanwhile = async () => {}) {
      const { promise, resolve } = Promise.withResolvers<void>();
      mayStart = promise;
      child?.kill('SIGKILL');
      await ended;
      await meanwhile().finally(resolve);
    },
    async restart() {
      child?.kill('SIGTERM');
      await ended;
    },
    async stop() {
      isOver = true;
      child?.kill('SIGTERM');
      await running;
      // 130: it was told to stop before it had begun.
      const others = said.filter((each) => !/^(0|130): /.test(each));
      assert.deepEqual(others, [], 'follow ends by itself only when it is asked to');
    },
  };
}
