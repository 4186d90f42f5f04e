import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { manifestReader } from './backup-manifest.ts';

const SUM = 'a'.repeat(64);

function entry(path: string, more = ''): string {
  const sums = `"Checksum-Algorithm": "SHA256", "Checksum": "${SUM}"`;
  return `{ "Path": ${JSON.stringify(path)}, "Size": 7, "Last-Modified": "2026-01-01 00:00:00 GMT", ${sums}${more} }`;
}

/** As PostgreSQL writes it: version 1 up to 16, 2 since. */
function manifest(files: readonly string[], version = 2): string {
  const system = version === 2 ? '"System-Identifier": 7000000000000000001,\n' : '';
  const wal = '{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }';
  const head = `{ "PostgreSQL-Backup-Manifest-Version": ${version},\n${system}"Files": [\n${files.join(',\n')}\n],\n`;
  const text = `${head}"WAL-Ranges": [\n${wal}\n],\n`;
  return `${text}"Manifest-Checksum": "${createHash('sha256').update(text).digest('hex')}"}\n`;
}

function read(text: string, pieceBytes = 10): string[] {
  const reader = manifestReader('it');
  const bytes = Buffer.from(text);
  const paths: string[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    for (const { path } of reader.push(bytes.subarray(at, at + pieceBytes))) paths.push(path);
  }
  reader.end();
  return paths;
}

test('the files of a manifest are told, in pieces of any size', () => {
  for (const version of [1, 2]) {
    const text = manifest([entry('backup_label'), entry('base/5/ünï "x"')], version);
    for (const pieceBytes of [1, 7, 10_000])
      assert.deepEqual(read(text, pieceBytes), ['backup_label', 'base/5/ünï "x"']);
  }
});

test('a manifest that was changed or cut is refused', () => {
  const text = manifest([entry('backup_label'), entry('base/5/1259')]);
  const wrong = {
    'another size': text.replace('"Size": 7', '"Size": 8'),
    'a file less': text.replace(`${entry('backup_label')},\n`, ''),
    'no end': text.slice(0, text.indexOf('"Manifest-Checksum"')),
    'half an end': text.slice(0, -5),
    'another version': manifest([entry('x')]).replace('Version": 2', 'Version": 3'),
    'another algorithm': manifest([entry('x').replace('SHA256', 'CRC32C')]),
    'no name': manifest([entry('x').replace('"Path"', '"Encoded-Path"')]),
    'no size': manifest([entry('x').replace('7', '-"7"')]),
    'a line of its own': text.replace('"WAL-Ranges"', '"More": [\n"WAL-Ranges"'),
    'no text': `${text}\xff`,
    'more behind it': `${text}{}\n`,
    nothing: '',
  };
  for (const [what, changed] of Object.entries(wrong)) {
    assert.throws(() => read(changed), { code: 'malformed' }, what);
  }
  assert.throws(() => manifestReader('it').push(Buffer.from([0x7b, 0xff])), { code: 'malformed' });
});
