import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { bytesOf, readAll } from './bytes.ts';
import type { Command } from './driver.ts';
import { Failure } from './errors.ts';
import { identityOf, type ProcessIdentity, stateOf } from './liveness.ts';
import type { Bytes } from './model.ts';
import { run, start } from './process.ts';
import { liveContext } from './testing.ts';

const node = (script: string, ...args: string[]): Command => ({
  program: process.execPath,
  args: ['-e', script, ...args],
});
async function waitUntilDead(identity: ProcessIdentity): Promise<void> {
  for (const end = performance.now() + 10_000; (await stateOf(identity)) !== 'dead'; ) {
    if (performance.now() > end) assert.fail('the child lives on');
  }
}

const FOREVER = 'setInterval(() => {}, 1000);';

test('what a program prints is its answer', async () => {
  assert.equal(await run(liveContext(), node('console.log(process.argv[1])', 'a b;$c')), 'a b;$c\n');
});

test('a program is given what it needs: input, environment, directory', async () => {
  const ctx = liveContext({ env: { GIVEN: 'by the context', PATH: process.env.PATH } });
  const script =
    'process.stdin.on("data", (d) => console.log(String(d), process.env.GIVEN, process.env.OWN, process.cwd()))';
  const command = { ...node(script), env: { OWN: 'by the command' }, cwd: '/' };
  const running = start(ctx, command, { stdin: 'pipe' });
  await running.feed(bytesOf('fed'));
  assert.equal((await readAll(running.stdout)).toString(), 'fed by the context by the command /\n');
  await running.succeeded();
});

test('an exit code other than 0 is a failure with its last words', async () => {
  const failing = run(liveContext(), node('console.error("first"); console.error("disk on fire"); process.exit(4)'));
  await assert.rejects(failing, { code: 'program-failed', message: /exited with 4.*disk on fire/s });
});

test('a program that is missing is named', async () => {
  await assert.rejects(run(liveContext(), { program: 'no-such-program', args: [] }), {
    code: 'program-missing',
    message: /no-such-program/,
  });
});

test('fault 51: a program that hangs is ended at its deadline', async () => {
  await assert.rejects(run(liveContext(), node(FOREVER), { deadlineMs: 200 }), { code: 'timeout' });
});

test('fault 51: of a flood on standard error the end is kept, and it stops nothing', async () => {
  const script =
    'for (let i = 0; i < 20000; i++) console.error("x".repeat(100)); console.error("the cause"); process.exitCode = 1';
  const running = start(liveContext(), node(script));
  await readAll(running.stdout);
  const { code, stderr } = await running.ended();
  assert.equal(code, 1);
  assert.ok(stderr.length <= 16 * 1024);
  assert.ok(stderr.endsWith('the cause\n'));
});

test('fault 51: a signal that ended it is named, and is never a success', async () => {
  const killed = run(liveContext(), node('process.kill(process.pid, "SIGKILL")'));
  await assert.rejects(killed, { code: 'program-failed', message: /SIGKILL/ });
});

test('fault 51: closing its output early is no success by itself', async () => {
  const running = start(liveContext(), node('process.stdout.end("part", () => process.exit(7))'));
  assert.equal((await readAll(running.stdout)).toString(), 'part');
  await assert.rejects(running.succeeded(), { code: 'program-failed', message: /7/ });
});

test('a program that stops listening does not stall whoever feeds it', async () => {
  async function* endless(): Bytes {
    for (;;) yield new Uint8Array(65536);
  }
  const running = start(liveContext(), node('process.exit(0)'), { stdin: 'pipe' });
  await running.feed(endless());
  await readAll(running.stdout);
  assert.equal((await running.succeeded()).code, 0);
});

test('a chunk is written before the next one is asked for, as it is borrowed', async () => {
  const [chunk, count] = [Buffer.alloc(4096), 400]; // small ones are what streams queue
  async function* refilled(): Bytes {
    for (let i = 0; i < count; i++) yield chunk.fill(i);
  }
  const slow = { program: 'sh', args: ['-c', 'sleep 0.2; exec cat'] };
  const running = start(liveContext(), slow, { stdin: 'pipe' });
  const [output] = await Promise.all([readAll(running.stdout), running.feed(refilled())]);
  await running.succeeded();
  assert.equal(output.length, count * chunk.length);
  for (let i = 0; i < count; i++) {
    assert.ok(output.subarray(i * chunk.length, (i + 1) * chunk.length).equals(chunk.fill(i)), `chunk ${i}`);
  }
});

test('a program that had enough before its input ended does not hold up whoever feeds it', async () => {
  const running = start(liveContext(), { program: 'head', args: ['-c', '4'] }, { stdin: 'pipe' });
  async function* input(): Bytes {
    yield Buffer.from('enough');
    await running.ended(); // what comes now is the end only
    await new Promise((resolve) => setImmediate(resolve));
  }
  const fed = running.feed(input());
  assert.equal((await readAll(running.stdout)).toString(), 'enou');
  await fed;
});

test('what a program wrote is whole although it was gone before anybody read', async () => {
  const running = start(liveContext(), { program: 'head', args: ['-c', '50000', '/dev/zero'] });
  await running.ended();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await readAll(running.stdout)).length, 50_000);
});

test('a large output is whole and comes in order, in large chunks, however slowly it is read', async () => {
  const script = 'i=0; while [ $i -lt 4000 ]; do printf "%01024d" $i; i=$((i + 1)); done';
  const running = start(liveContext(), { program: 'sh', args: ['-c', script] });
  const chunks: Buffer[] = [];
  for await (const chunk of running.stdout) {
    chunks.push(Buffer.from(chunk));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await running.succeeded();
  const expected = Array.from({ length: 4000 }, (_, i) => `${i}`.padStart(1024, '0')).join('');
  assert.ok(Buffer.concat(chunks).equals(Buffer.from(expected)));
  assert.ok(chunks.length < 2000, `${chunks.length} chunks`);
});

test('each line of standard error is told as it comes', async () => {
  const lines: string[] = [];
  await run(liveContext(), node('process.stderr.write("one\\ntw"); process.stderr.write("o\\n")'), {
    onStderr: (line) => void lines.push(line),
  });
  assert.deepEqual(lines, ['one', 'two']);
});

test('stopping ends the program with all that it started', async () => {
  const stop = new AbortController();
  const ctx = liveContext({ signal: stop.signal });
  const child = `require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(FOREVER)}])`;
  const running = start(ctx, node(`console.log(${child}.pid); ${FOREVER}`));
  for await (const chunk of running.stdout) {
    const grandchild = await identityOf(Number(Buffer.from(chunk).toString()));
    stop.abort(new Failure('interrupted', 'enough'));
    await assert.rejects(running.succeeded(), { code: 'interrupted', message: 'enough' });
    assert.ok(grandchild);
    assert.equal(await stateOf(grandchild), 'dead');
    break;
  }
  assert.throws(() => start(ctx, node('')), 'nothing starts any more');
});

test('fault 51: a program that is gone and left a child behind is ended with it at the deadline', async () => {
  const child = `require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(FOREVER)}], { stdio: 'inherit' })`;
  const running = start(liveContext(), node(`const c = ${child}; console.log(c.pid); c.unref();`), {
    deadlineMs: 2_000,
  });
  let left: ProcessIdentity | null = null;
  for await (const chunk of running.stdout) left = await identityOf(Number(Buffer.from(chunk).toString()));
  await assert.rejects(running.succeeded(), { code: 'timeout' });
  assert.ok(left);
  await waitUntilDead(left);
});

test('stopping a program that is gone ends the child that it left behind', async () => {
  const script = `const c = require('node:child_process').spawn('sh', ['-c', 'trap "" TERM; echo $$; sleep 600; sleep 600'], { stdio: 'inherit' }); process.on('SIGTERM', () => process.exit(0));`;
  const running = start(liveContext(), node(script));
  const { value } = await running.stdout[Symbol.asyncIterator]().next();
  const left = await identityOf(Number(Buffer.from(value ?? '').toString()));
  assert.ok(left);
  await running.stop();
  await waitUntilDead(left);
});

test('a helper that a program leaves behind holds up nothing once the output is closed', async () => {
  const ctx = liveContext();
  const script = 'sleep 600 >/dev/null 2>&1 & echo secret; exec >&-; read told';
  const running = start(ctx, { program: 'sh', args: ['-c', script] }, { stdin: 'pipe', deadlineMs: 60_000 });
  assert.equal((await readAll(running.stdout)).toString(), 'secret\n');
  await running.feed(bytesOf('told\n'));
  await running.succeeded();
  assert.equal(getEventListeners(ctx.signal, 'abort').length, 0);
  await running.stop();
});

test('a program whose children we may not signal is no failure', async (t) => {
  t.mock.method(process, 'kill', () => {
    throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
  });
  assert.equal(await run(liveContext(), node('console.log("done")')), 'done\n');
});
