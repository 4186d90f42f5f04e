import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { localBucket } from '../buckets/local/bucket.ts';
import { type TestContext, testContext } from '../core/testing.ts';
import { plainFormat } from '../stores/plain/store.ts';
import { numbersIn, textOf } from './follow-testing.ts';

const SCRIPT = fileURLToPath(new URL('./follow-process-testing.ts', import.meta.url));
const KILLS = 4;
const SETTINGS = { stack: 'shop', layout: 'dated' };

/** Runs until `signal` is sent after so many figures were said; to the last one. */
async function followed(dir: string, signal: NodeJS.Signals, isEnough: (acknowledged: number) => boolean) {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SCRIPT, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let acknowledged = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    acknowledged = Math.max(acknowledged, ...text.split('\n').slice(0, -1).map(Number));
    if (!child.killed && isEnough(acknowledged)) child.kill(signal);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { acknowledged, code };
}

async function journals(ctx: TestContext, dir: string) {
  const open = (name: string) => plainFormat.open(ctx, localBucket(join(dir, name)), SETTINGS);
  await using one = await open('one');
  await using two = await open('two');
  const texts = { one: await textOf(ctx, one, 'db'), two: await textOf(ctx, two, 'db') };
  return { numbers: await numbersIn(ctx, one, 'db'), ...texts };
}

test('killed at any time it goes on where the store ends: nothing acknowledged is lost, nothing is twice (fault 45)', async () => {
  const ctx = testContext();
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-follow-'));
  try {
    for (const name of ['one', 'two']) await plainFormat.create(ctx, localBucket(join(dir, name)), SETTINGS);
    const log = join(dir, 'log');
    appendFileSync(log, 'x');
    const stop = new AbortController();
    const growing = (async () => {
      for (; !stop.signal.aborted; await delay(2)) appendFileSync(log, 'xxx');
    })();
    let before = 0;
    for (let kills = 0; kills < KILLS; kills++) {
      const { acknowledged, code } = await followed(dir, 'SIGKILL', (at) => at > before + 5 + kills * 7);
      assert.equal(code, null);
      const { numbers } = await journals(ctx, dir);
      assert.ok((numbers.at(-1) ?? 0) + 1 >= acknowledged, `${numbers.at(-1)} is stored, ${acknowledged} was said`);
      before = acknowledged;
    }
    stop.abort();
    await growing;
    const end = statSync(log).size;
    const { code } = await followed(dir, 'SIGTERM', (at) => at === end);
    assert.equal(code, 0);
    const { numbers, one, two } = await journals(ctx, dir);
    const [first = 0] = numbers;
    assert.deepEqual(
      numbers,
      Array.from({ length: end - first }, (_, at) => first + at),
    );
    assert.deepEqual(two, one);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
