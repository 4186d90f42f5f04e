import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { digester } from './digest.ts';
import { isFailure } from './errors.ts';

const LONG = 2 ** 40;

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
