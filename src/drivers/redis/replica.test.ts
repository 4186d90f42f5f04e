// The begin and the end of a copy, said by a server that says anything.

import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { liveContext } from '../../core/testing.ts';
import { type FullSync, fullSync } from './replica.ts';
import { readSettings } from './settings.ts';

const INFO = 'redis_version:8.0.0\r\nrole:master\r\n';
const MARK = 'm'.repeat(40);

/** A server that answers up to PSYNC, then says these pieces, one packet each, and hangs up if it is meant to. */
async function copyOf<T>(
  { pieces, hangsUp = true, timeout = '2s' }: { pieces: readonly string[]; hangsUp?: boolean; timeout?: string },
  use: (sync: FullSync) => Promise<T>,
): Promise<T> {
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', (request) => {
      const text = request.toString('latin1');
      if (text.includes('INFO')) socket.write(`$${INFO.length}\r\n${INFO}\r\n`);
      else if (text.includes('PSYNC')) void say(socket, pieces, hangsUp);
      else socket.write('+OK\r\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    await using sync = await fullSync(liveContext(), readSettings({ host: '127.0.0.1', port, timeout }));
    return await use(sync);
  } finally {
    server.close();
  }
}

async function heard(...pieces: readonly string[]): Promise<string> {
  return await copyOf({ pieces }, async ({ offset, body }) => {
    const chunks = await Array.fromAsync(body, (chunk) => Buffer.from(chunk));
    return `${offset} ${Buffer.concat(chunks)}`;
  });
}

async function say(socket: Socket, pieces: readonly string[], hangsUp: boolean): Promise<void> {
  for (const piece of pieces) {
    await new Promise<void>((resolve) => socket.write(piece, () => setImmediate(resolve)));
  }
  if (hangsUp) socket.end();
}

const FULL = '+FULLRESYNC abc 7\r\n';

test('a copy ends where its length or its mark says, however it is cut into packets', async () => {
  assert.equal(await heard(`${FULL}$5\r\nhello`), '7 hello');
  assert.equal(await heard('\n', '\n', FULL, '\n\n', '$5', '\r\n', 'he', 'llo', 'what is said after'), '7 hello');
  assert.equal(await heard(`${FULL}\n$EOF:${MARK}\r\nhello${MARK}`), '7 hello');
  const body = 'a'.repeat(100);
  assert.equal(await heard(FULL, `$EOF:${MARK}\r\n`, body, MARK), `7 ${body}`);
  assert.equal(await heard(FULL, `$EOF:${MARK}\r\n`, 'he', 'llo', 'm'.repeat(39), 'm'), '7 hello');
  assert.equal(
    await heard(FULL, `$EOF:${MARK}\r\n`, `${body}${MARK.slice(1)}`, 'x', MARK),
    `7 ${body}${MARK.slice(1)}x`,
  );
  assert.equal(await heard(`${FULL}$EOF:${MARK}\r\n`, ...`hello${MARK}`), '7 hello');
});

test('fault 39: a copy without its end, its beginning or at all is a failure', async () => {
  await assert.rejects(heard(FULL, '$5\r\nhell'), { code: 'unreachable', message: /after 4 bytes/ });
  await assert.rejects(heard(FULL, `$EOF:${MARK}\r\nhello${MARK.slice(1)}`), { code: 'unreachable' });
  await assert.rejects(heard(FULL), { code: 'unreachable' });
  await assert.rejects(heard(FULL, '$-1\r\n'), { code: 'denied' });
  await assert.rejects(heard(FULL, '$EOF:short\r\n'), { code: 'denied' });
  await assert.rejects(heard(FULL, '-ERR the disk is full\r\n'), { code: 'denied', message: /disk is full/ });
  await assert.rejects(heard(FULL, 'x'.repeat(5_000)), { code: 'denied' });
  await assert.rejects(heard('+CONTINUE\r\n'), { code: 'denied' });
  await assert.rejects(heard('-LOADING wait\r\n'), { code: 'blocked' });
  await assert.rejects(heard('HTTP/1.1 400 Bad Request\r\n'), { code: 'unreachable', message: /no Redis server/ });
});

test('a server that stands still in the middle of a copy is given up, but not for a store that is slow', async () => {
  const pieces = [FULL, '$10\r\n', 'hello'];
  await copyOf({ pieces, hangsUp: false, timeout: '100ms' }, async ({ body }) => {
    await assert.rejects(Array.fromAsync(body), { code: 'timeout', message: /stood still for 100 ms/ });
  });
  await copyOf({ pieces: [...pieces, 'world'], timeout: '100ms' }, async ({ body }) => {
    let text = '';
    for await (const chunk of body) {
      text += Buffer.from(chunk).toString();
      await sleep(300);
    }
    assert.equal(text, 'helloworld');
  });
});
