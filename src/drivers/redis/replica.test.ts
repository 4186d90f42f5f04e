// The begin and the end of a copy, said by a server that says anything.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { removeDir, temporaryDir } from '../../../test/servers/processes.ts';
import { type Certificate, certificateIn } from '../../../test/servers/tls.ts';
import type { Context } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import { openLink } from './link.ts';
import { type FullSync, fullSync } from './replica.ts';
import { readSettings, type Settings } from './settings.ts';

const INFO = 'redis_version:8.0.0\r\nrole:master\r\n';
const MARK = 'm'.repeat(40);

interface Peer {
  readonly pieces: readonly string[];
  readonly hangsUp?: boolean;
  readonly timeout?: string;
  readonly certificate?: Certificate;
  readonly ctx?: Context;
}

/** A server that answers up to PSYNC, then says these pieces, one packet each, and hangs up if it is meant to. */
async function spokenTo<T>(
  { pieces, hangsUp = true, timeout = '2s', certificate }: Peer,
  use: (settings: Settings) => Promise<T>,
): Promise<T> {
  const answer = (socket: Socket): void => {
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', (request) => {
      const text = request.toString('latin1');
      if (text.includes('INFO')) socket.write(`$${INFO.length}\r\n${INFO}\r\n`);
      else if (text.includes('PSYNC')) void say(socket, pieces, hangsUp);
      else socket.write('+OK\r\n');
    });
  };
  const server = certificate
    ? createTlsServer({ key: await readFile(certificate.keyFile), cert: await readFile(certificate.certFile) }, answer)
    : createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const tls = certificate && { ca_file: certificate.caFile };
    return await use(readSettings({ host: '127.0.0.1', port, timeout, ...(tls && { tls }) }));
  } finally {
    server.close();
  }
}

async function copyOf<T>(peer: Peer, use: (sync: FullSync) => Promise<T>): Promise<T> {
  return await spokenTo(peer, async (settings) => {
    await using sync = await fullSync(peer.ctx ?? liveContext(), settings);
    return await use(sync);
  });
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

test('what is said behind a copy, or behind the word that it goes on, is the log', async () => {
  const log = '*1\r\n$4\r\nPING\r\n';
  const id = 'f'.repeat(40);
  for (const [from, ...pieces] of [
    [null, `${FULL}$5\r\nhello${log}`, log],
    [null, `${FULL}$5\r\nhel`, `lo${log}`, log],
    [{ replicationId: id, offset: '7' }, `+CONTINUE ${id}\r\n${log}`, log],
  ] as const) {
    await spokenTo({ pieces }, async (settings) => {
      await using link = await openLink(liveContext(), settings, from);
      assert.equal(link.offset, '7');
      const copy = link.copy && (await Array.fromAsync(link.copy, (chunk) => `${Buffer.from(chunk)}`)).join('');
      assert.equal(copy, from ? null : 'hello');
      let text = '';
      const reading = (async () => {
        for await (const piece of link.stream) text += piece.toString();
      })();
      await assert.rejects(reading, { code: 'unreachable', hint: /client-output-buffer-limit/ });
      assert.equal(text, log + log);
    });
  }
});

test('a server that stands still in the middle of a copy is given up', async () => {
  const pieces = [FULL, '$10\r\n', 'hello'];
  await copyOf({ pieces, hangsUp: false, timeout: '500ms' }, async ({ body }) => {
    await assert.rejects(Array.fromAsync(body), { code: 'timeout', message: /stood still for 500 ms/ });
  });
});

test('a server is not given up for a store that is slow, nor for a thread that was busy', async () => {
  const slow = async (ms: number): Promise<void> => await sleep(ms);
  const busy = async (ms: number): Promise<void> =>
    void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  for (const hold of [slow, busy]) {
    await copyOf({ pieces: [FULL, '$10\r\n', 'hello', 'world'], timeout: '500ms' }, async ({ body }) => {
      let text = '';
      for await (const chunk of body) {
        if (text === '' && chunk.length > 0) await hold(700);
        text += Buffer.from(chunk).toString();
      }
      assert.equal(text, 'helloworld');
    });
  }
});

test('pauses leave room for 200 MB/s, however small the pieces, encrypted or not', async () => {
  const dir = temporaryDir('replica');
  try {
    const total = 512 * 16_384;
    const pieces = [FULL, `$${total}\r\n`, ...Array.from({ length: 512 }, () => 'x'.repeat(16_384))];
    for (const certificate of [undefined, await certificateIn(dir)]) {
      const pauses: number[] = [];
      const ctx = liveContext({ sleep: async (ms) => void pauses.push(ms) });
      await copyOf({ pieces, ctx, ...(certificate && { certificate }) }, async ({ body }) => {
        let bytes = 0;
        for await (const piece of body) bytes += piece.length;
        assert.equal(bytes, total);
      });
      const pausedMs = pauses.reduce((sum, ms) => sum + ms, 0);
      assert.ok(pauses.length > 0 && pausedMs * 200_000 <= total, `${pauses.length} pauses, ${pausedMs} ms`);
    }
  } finally {
    removeDir(dir);
  }
});
