import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { digester } from './digest.ts';
import type { DigestStep } from './digest.worker.ts';
import { isFailure } from './errors.ts';
import { startThread } from './thread.ts';

const LONG = 2 ** 40;

const url = (name: string): string => new URL(name, import.meta.url).href;
/** A thread that answers with what the body of a function of a stream and its piece returns. */
function answering(body: string): URL {
  const source = `import { answerQuestions } from '${url('thread.ts')}';
    const asked = [];
    answerQuestions(({ stream, piece }) => { ${body} });`;
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}

function shared(text: string): Uint8Array<SharedArrayBuffer> {
  const piece = new Uint8Array(new SharedArrayBuffer(text.length));
  piece.set(Buffer.from(text));
  return piece;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

test('streams of any length, several at once, have the digests of their bytes', async () => {
  const { begin } = digester();
  await using long = begin(LONG);
  await using other = begin(LONG);
  await using short = begin(10);
  for (const text of ['one', 'two', 'three']) {
    await Promise.all([long.update(shared(text)), other.update(shared(`${text}!`)), short.update(shared(text))]);
  }
  assert.equal(await long.end(), sha256('onetwothree'));
  assert.equal(await other.end(), sha256('one!two!three!'));
  assert.equal(await short.end(), sha256('onetwothree'));
});

test('a stream that follows one that was left in the middle is hashed from its own beginning', async () => {
  const { begin } = digester();
  await using _kept = begin(LONG);
  {
    await using left = begin(LONG);
    await left.update(shared('left'));
  }
  await using next = begin(LONG);
  await next.update(shared('next'));
  assert.equal(await next.end(), sha256('next'));
});

test('a thread that dies is told at the end of each stream, and the next stream has another one', async () => {
  const { begin } = digester(new URL('data:text/javascript,process.exit(7)'));
  for (let run = 0; run < 2; run++) {
    await using digest = begin(LONG);
    await digest.update(shared('lost'));
    await assert.rejects(digest.end(), (error) => isFailure(error, 'program-failed') && /exit code 7/.test(`${error}`));
  }
});

test('a stream that begins while those of a dead thread are open has a living one, and none outlives them', async () => {
  const started: Worker[] = [];
  const enter = (worker: Worker): void => void started.push(worker);
  process.on('worker', enter);
  {
    const { begin } = digester(answering(`if (piece[0] === 33) process.exit(7); return 'digest'`));
    await using dead = begin(LONG);
    {
      await dead.update(shared('!'));
      await using next = begin(LONG);
      await next.update(shared('next'));
      assert.equal(await next.end(), 'digest');
    }
    await assert.rejects(dead.end(), (error) => isFailure(error, 'program-failed'));
  }
  process.off('worker', enter);
  assert.deepEqual(
    started.map(({ threadId }) => threadId),
    [-1, -1],
  );
});

test('a stream that is left is forgotten, and what is still read of it is not hashed', async () => {
  const recorded = `if (piece === 'end') return asked.join();
    asked.push(stream + ' ' + (piece === 'forget' ? piece : 'piece'));
    return null;`;
  const { begin } = digester(answering(recorded));
  await using kept = begin(LONG);
  const left = begin(LONG);
  await left.update(shared('left'));
  await left[Symbol.asyncDispose]();
  await left.update(shared('late'));
  assert.equal(await kept.end(), '1 piece,1 forget');
  await assert.rejects(left.end());

  const hashing = startThread<DigestStep, string | null>(new URL(url('digest.worker.ts')), 'the thread');
  for (const piece of [shared('left'), 'forget'] as const) await hashing.ask({ stream: 1, piece });
  assert.equal(await hashing.ask({ stream: 1, piece: 'end' }), sha256(''));
  await hashing.stop();
});
