import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { messagesOf } from './replication.ts';

function message(type: string, body: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(body as string);
  const header = Buffer.alloc(5);
  header.write(type);
  header.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([header, bytes]);
}

async function* inPieces(bytes: Buffer, size: number): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test('messages come whole, however they are cut, and what is not read is passed over', async () => {
  const bodies = fc.array(fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.boolean()), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(bodies, fc.integer({ min: 1, max: 400 }), async (wanted, size) => {
      const notice = message('N', 'SNOTICE\0C00000\0Mit may be slow\0\0');
      const sent = wanted.flatMap(([body]) => [notice, message('S', 'x\0y\0'), message('d', Buffer.from(body))]);
      const messages = messagesOf(inPieces(Buffer.concat([...sent, message('Z', 'I')]), size), 'it');
      for (const [body, isRead] of wanted) {
        const { type, whole } = await messages.next();
        assert.equal(type, 'd');
        if (isRead) assert.deepEqual(Buffer.from(await whole()), Buffer.from(body));
      }
      assert.equal((await messages.next()).type, 'Z');
      assert.equal(
        messages.notices.every((text) => text === 'it may be slow'),
        true,
      );
      assert.equal(messages.notices.length, wanted.length);
    }),
  );
});

test('data of a copy fills what it is given, without what each message begins with, up to what is something else', async () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
  const size = fc.integer({ min: 1, max: 400 });
  await fc.assert(
    fc.asyncProperty(bodies, bodies, size, size, async (first, second, chunk, room) => {
      const data = (wanted: readonly Uint8Array[]): Buffer[] =>
        wanted.map((body) => message('d', Buffer.concat([Buffer.from('d'), body])));
      const sent = [...data(first), message('d', 'p12345678'), ...data(second), message('c')];
      const messages = messagesOf(inPieces(Buffer.concat([...sent, message('Z', 'I')]), chunk), 'it');
      const target = Buffer.alloc(room);
      const filled = async (): Promise<Buffer> => {
        const pieces: Buffer[] = [];
        for (let bytes = -1; bytes !== 0; ) {
          bytes = await messages.fill(target, 'd'.charCodeAt(0));
          pieces.push(Buffer.from(target.subarray(0, bytes)));
        }
        return Buffer.concat(pieces);
      };
      // An empty message fills nothing, and what comes behind it is asked for again.
      const all = async (bytes: number): Promise<Buffer> => {
        const pieces = [await filled()];
        while (Buffer.concat(pieces).length < bytes) pieces.push(await filled());
        return Buffer.concat(pieces);
      };
      const [one, other] = [Buffer.concat(first), Buffer.concat(second)];
      assert.deepEqual(await all(one.length), one);
      assert.equal(String(await (await messages.next()).whole()), 'p12345678');
      assert.equal(await messages.fill(target, 'x'.charCodeAt(0)), 0);
      if (second.length > 0 && other.length > 0) assert.deepEqual(await all(other.length), other);
    }),
  );
});

test('an error of the server is told in its words, and a server that goes away or sends nonsense is too', async () => {
  const next = async (bytes: Buffer): Promise<unknown> => {
    const { whole } = await messagesOf(inPieces(bytes, 7), 'it').next();
    return await whole();
  };
  const error = message('E', 'SERROR\0C53100\0Mno space left\0Hmake room\0\0');
  await assert.rejects(next(error), { code: 'no-space', message: 'it: no space left', hint: 'make room' });
  await assert.rejects(next(Buffer.alloc(0)), { code: 'unreachable' });
  await assert.rejects(next(error.subarray(0, 3)), { code: 'unreachable' });
  await assert.rejects(next(message('d', 'data').subarray(0, 7)), { code: 'unreachable' });
  await assert.rejects(next(Buffer.from([0x64, 0xff, 0xff, 0xff, 0xff])), { code: 'malformed' });
  await assert.rejects(next(Buffer.from([0x64, 0x7f, 0xff, 0xff, 0xff, 0])), { code: 'malformed' });
});
