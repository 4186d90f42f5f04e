// `lifeboat follow`, which is killed and stopped, and started again whenever it has ended.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { lifeboat } from '../e2e/lifeboat.ts';

const WORDS_MAX = 8000;

export interface Follower extends AsyncDisposable {
  /** The end of what it says, and has said before, for who finds that something is wrong. */
  lastWords(): string;
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
  let words = '';

  async function runOnce(): Promise<void> {
    const onStart = (started: ChildProcess): void => {
      child = started;
      words += `-- started ${new Date().toISOString()}\n`;
      started.stderr?.on('data', (text: string) => void (words = (words + text).slice(-WORDS_MAX)));
    };
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
    lastWords: () => words,
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
    async [Symbol.asyncDispose]() {
      isOver = true;
      child?.kill('SIGKILL');
      await running;
    },
  };
}
