import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Bytes } from '../../../core/model.ts';
import { type TarEntry, tarEntries } from './tar.ts';

const BLOCK = 512;
const END = Buffer.alloc(2 * BLOCK);

interface Fields {
  readonly name: string | Buffer;
  readonly type?: string;
  readonly size?: string | Buffer;
  readonly bytes?: number;
  readonly mtime?: string;
  readonly magic?: string;
  readonly prefix?: string;
  readonly checksum?: number;
}

/** As PostgreSQL writes it. */
function header({ name, type = '0', bytes = 0, size = octal(bytes, 11), ...rest }: Fields): Buffer {
  const block = Buffer.alloc(BLOCK);
  Buffer.from(name as string).copy(block, 0, 0, 100);
  block.write(octal(0o600, 7), 100);
  block.write(octal(999, 7), 108);
  block.write(octal(998, 7), 116);
  Buffer.from(size as string).copy(block, 124, 0, 12);
  block.write(rest.mtime ?? octal(1_700_000_000, 11), 136);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(rest.magic ?? 'ustar\0', 257, 'latin1');
  block.write(rest.prefix ?? '', 345);
  const sum = rest.checksum ?? block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148, 'latin1');
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

function file(name: string | Buffer, content: Buffer): Buffer {
  const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK);
  return Buffer.concat([header({ name, bytes: content.length }), content, padding]);
}

async function* inPieces(archive: Buffer, bytes: number): Bytes {
  for (let at = 0; at < archive.length; at += bytes) yield archive.subarray(at, at + bytes);
}

async function read(archive: Buffer, pieceBytes = 1000): Promise<(Omit<TarEntry, 'body'> & { content: string })[]> {
  const entries: (Omit<TarEntry, 'body'> & { content: string })[] = [];
  for await (const { body, ...entry } of tarEntries(inPieces(archive, pieceBytes), 'it')) {
    const pieces = await Array.fromAsync(body, (piece) => Buffer.from(piece));
    entries.push({ ...entry, content: Buffer.concat(pieces).toString('latin1') });
  }
  return entries;
}

describe('an archive of a base backup', () => {
  test('is read the same in pieces of any size', async () => {
    const files = fc.array(fc.tuple(fc.stringMatching(/^[a-z0-9_]{1,20}$/), fc.uint8Array({ maxLength: 2000 })), {
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(files, fc.integer({ min: 1, max: 3000 }), async (wanted, pieceBytes) => {
        const named = wanted.map(([name, content], at) => [`base/${at}/${name}`, Buffer.from(content)] as const);
        const archive = Buffer.concat([...named.map(([name, content]) => file(name, content)), END]);
        const entries = await read(archive, pieceBytes);
        assert.deepEqual(
          entries.map(({ name, content }) => [name, content]),
          named.map(([name, content]) => [name, content.toString('latin1')]),
        );
      }),
    );
  });

  test('tells modes, owners and times, and files of more than 8 GiB', async () => {
    const directory = header({ name: './pg_wal/archive_status/', type: '5' });
    const [first, second] = await read(Buffer.concat([directory, file('PG_VERSION', Buffer.from('17\n')), END]));
    assert.deepEqual([first?.name, first?.type], ['pg_wal/archive_status', 'directory']);
    const { mode, uid, gid, mtime, content } = second ?? assert.fail();
    assert.deepEqual([mode, uid, gid, mtime.getTime(), content], [0o600, 999, 998, 1_700_000_000_000, '17\n']);
    const size = Buffer.alloc(12);
    size[0] = 0x80;
    size.writeUInt32BE(3, 4); // 12 GiB and 5 bytes
    size.writeUInt32BE(5, 8);
    for await (const { bytes } of tarEntries(inPieces(header({ name: 'large', size }), BLOCK), 'it')) {
      assert.equal(bytes, 12 * 2 ** 30 + 5);
      break;
    }
  });

  const well = file('well', Buffer.from('well'));
  const hostile: Readonly<Record<string, Buffer>> = {
    'a name that leads up': file('../outside', Buffer.alloc(1)),
    'a name that leads up on its way': file('base/../../outside', Buffer.alloc(1)),
    'a name that is absolute': file('/etc/passwd', Buffer.alloc(1)),
    'a name that stays': file('base/./1', Buffer.alloc(1)),
    'a name with an empty segment': file('base//1', Buffer.alloc(1)),
    'no name': file('', Buffer.alloc(1)),
    'the directory itself': header({ name: './', type: '5' }),
    'a file with the name of a directory': file('base/', Buffer.alloc(1)),
    'a name of two lines': file('base/1\n2', Buffer.alloc(1)),
    'a name with a backslash': file('base\\1', Buffer.alloc(1)),
    'a name that is no UTF-8': file(Buffer.from([0x62, 0xff, 0x62]), Buffer.alloc(1)),
    'a name that is too long': file('x'.repeat(100), Buffer.alloc(1)),
    'a name in two fields': header({ name: 'passwd', prefix: '/etc' }),
    'a link': header({ name: 'pg_tblspc/1', type: '2' }),
    'a hard link': header({ name: 'base/1', type: '1' }),
    'a device': header({ name: 'base/1', type: '3' }),
    'a header of another format': header({ name: 'x', type: 'x', bytes: 10 }),
    'a directory with bytes': header({ name: 'base', type: '5', bytes: 10 }),
    'a wrong checksum': header({ name: 'x', checksum: 1 }),
    'another magic': header({ name: 'x', magic: 'ustar ' }),
    'a size that is none': header({ name: 'x', size: '12345678901x' }),
    'a size below nothing': header({ name: 'x', size: Buffer.alloc(12, 0xff) }),
    'a size beyond all files': header({ name: 'x', size: Buffer.from([0x80, ...Buffer.alloc(11, 0xff)]) }),
    'a time that is none': header({ name: 'x', mtime: '-0000000001' }),
    'an end in a header': well.subarray(0, 100),
    'an end in a file': Buffer.concat([well, header({ name: 'x', bytes: 9 }), Buffer.alloc(3)]),
    'an end in the padding': well.subarray(0, BLOCK + 100),
    'something after its end': Buffer.concat([END, well]),
  };
  for (const [what, archive] of Object.entries(hostile)) {
    test(`with ${what} is refused`, async () => {
      const isWhole = /^an end in/.test(what);
      await assert.rejects(read(isWhole ? archive : Buffer.concat([archive, END])), { code: 'malformed' });
    });
  }

  test('without its end is refused', async () => {
    await assert.rejects(read(well), { code: 'malformed' });
  });

  test('of any bytes is refused or read, and never anything else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 3000 }), fc.nat(5), async (noise, at) => {
        const archive = Buffer.concat([well, well, END]);
        Buffer.from(noise).copy(archive, at * 97);
        try {
          for (const { name } of await read(archive))
            assert.ok(!name.split('/').includes('..') && !name.startsWith('/'));
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'malformed', String(error));
        }
      }),
    );
  });
});
