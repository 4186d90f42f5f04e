import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';
import { readAll } from './bytes.ts';
import type { Command } from './driver.ts';
import { start } from './process.ts';
import { outputOf } from './process-output.ts';
import { liveContext } from './testing.ts';

/** Each line of so many tells its number. */
const LINES = 60_000;
const numbered: Command = { program: 'seq', args: ['-f', '%063.0f', `${LINES}`] };
const expected = Array.from({ length: LINES }, (_, i) => `${i + 1}\n`.padStart(64, '0')).join('');

test('a large output is whole, whoever reads it pauses now and then, and the program is long gone', async () => {
  const running = start(liveContext(), numbered);
  const chunks: Buffer[] = [];
  for await (const chunk of running.stdout) {
    chunks.push(Buffer.from(chunk));
    if (chunks.length % 3 > 0) await new Promise((resolve) => setTimeout(resolve, 3));
  }
  await running.succeeded();
  assert.ok(Buffer.concat(chunks).equals(Buffer.from(expected)));
});

test('a chunk stays as it is until the next one is asked for, however much the program has printed', async () => {
  const running = start(liveContext(), numbered);
  let bytes = 0;
  for await (const chunk of running.stdout) {
    const before = Buffer.from(chunk);
    await new Promise((resolve) => setTimeout(resolve, 2));
    assert.ok(before.equals(chunk));
    bytes += chunk.length;
  }
  assert.equal(bytes, expected.length);
  await running.succeeded();
});

test('who stops reading ends the output, and the program with it when it prints more', async () => {
  const running = start(liveContext(), { program: 'yes', args: [] });
  for await (const chunk of running.stdout) {
    assert.ok(chunk.length > 0);
    break;
  }
  assert.notEqual((await running.ended()).code, 0); // SIGPIPE, or its message that the pipe is broken
});

test('an output whose inside is another than that of a socket comes whole, and its failure too', async () => {
  const pieces = Array.from({ length: 64 }, (_, i) => Buffer.alloc(64 * 1024, i));
  const { chunks, stream } = outputOf(Readable.from(pieces));
  assert.ok((await readAll(chunks)).equals(Buffer.concat(pieces)));
  if (!stream.closed) await once(stream, 'close');

  const failing = new PassThrough();
  const { chunks: some } = outputOf(failing);
  failing.write('part');
  failing.destroy(new Error('the pipe is broken'));
  await assert.rejects(readAll(some), /the pipe is broken/);
});

test('a program that is stopped leaves nothing open, however much of its output nobody has read', async () => {
  const open = (): number => readdirSync('/proc/self/fd').length;
  const stopped = async (): Promise<void> => {
    const running = start(liveContext(), { program: 'head', args: ['-c', '300000', '/dev/zero'] });
    await running.succeeded(); // our buffer is full, and its pipe holds the rest
    await running.stop();
  };
  await stopped();
  const before = open();
  for (let i = 0; i < 3; i++) await stopped();
  const deadlineMs = Date.now() + 10_000;
  while (open() > before && Date.now() < deadlineMs) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(open() <= before);
});
