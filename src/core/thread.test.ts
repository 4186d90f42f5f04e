import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { Failure, isFailure } from './errors.ts';
import { startThread } from './thread.ts';

const CORE = import.meta.url;

/** A thread that answers with what the body of a function of `question` returns. */
function answering(body: string): URL {
  const imports = ['thread', 'errors'].map((name) => `import * as ${name} from '${new URL(`${name}.ts`, CORE)}';`);
  const source = `${imports.join('\n')}\nthread.answerQuestions((question) => { ${body} });`;
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}

test('questions are answered in order, and an error is that of its question only', async () => {
  const script = answering(`if (question % 2) throw new errors.Failure('checksum', 'odd', { hint: 'even' });
    if (question > 4) throw new RangeError('large');
    return question * 10`);
  const thread = startThread<number, number>(script, 'the thread');
  const answers = await Promise.allSettled([2, 3, 4, 6].map((question) => thread.ask(question)));
  assert.deepEqual(
    [answers[0], answers[2]],
    [20, 40].map((value) => ({ status: 'fulfilled', value })),
  );
  const [odd, large] = [answers[1], answers[3]].map((each) => each?.status === 'rejected' && each.reason);
  assert.ok(odd instanceof Failure && odd.code === 'checksum' && odd.hint === 'even');
  assert.ok(large instanceof RangeError);
  await thread.stop();
});

test('a thread that ends fails all that it was asked, and what it is asked later', async () => {
  const thread = startThread<number, number>(answering('if (question === 2) process.exit(7); return 1'), 'the thread');
  assert.equal(await thread.ask(1), 1);
  assert.ok(thread.isAlive());
  const isEnd = (error: unknown): boolean =>
    isFailure(error, 'program-failed') && /the thread ended.*7/.test(`${error}`);
  await Promise.all([2, 3].map((question) => assert.rejects(thread.ask(question), isEnd)));
  await assert.rejects(thread.ask(4), isEnd);
  assert.ok(!thread.isAlive());
});

test('a question that can not be posed shifts no answer', async () => {
  const thread = startThread<unknown, unknown>(answering('return question'), 'the thread');
  await assert.rejects(
    thread.ask(() => {}),
    { name: 'DataCloneError' },
  );
  assert.deepEqual(await Promise.all([1, 2].map((question) => thread.ask(question))), [1, 2]);
  await thread.stop();
});

test('a thread whose answer can not be read ends', () => {
  const unreadable = `const buffer = new ArrayBuffer(8, { maxByteLength: 64 });
    return { buffer, get view() { buffer.resize(64); return new DataView(buffer, 32, 8) } }`;
  const said = printed(unreadable, 'console.log(await thread.ask(1).catch(({ code }) => code), thread.isAlive());');
  assert.equal(said, 'program-failed false\n');
});

test('what follows the end of a thread that has just answered is done', () => {
  const said = printed(
    'return question',
    `await thread.ask(1);
    thread.ask(2).catch(() => {});
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300); // the answer is there, and not read yet
    await thread.stop();
    console.log('stopped');`,
  );
  assert.equal(said, 'stopped\n');
});

/** What a process of its own says that does so with a thread that answers so, and ends by itself. */
function printed(body: string, program: string): string {
  const source = `import { startThread } from '${new URL('thread.ts', CORE)}';
    const thread = startThread(new URL(${JSON.stringify(answering(body))}), 'the thread');
    ${program}`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  assert.equal(status, 0, stderr);
  return stdout;
}
