import assert from 'node:assert/strict';
import { it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { readAll } from '../../core/bytes.ts';
import { liveContext } from '../../core/testing.ts';
import { archiveReader, type Toc } from './archive.ts';
import { captureOf, createDatabase, settingsFor } from './testing.ts';

function readIn(pieces: number, archive: Buffer): Toc {
  const reader = archiveReader();
  for (let at = 0; at < archive.length; at += pieces) reader.push(archive.subarray(at, at + pieces));
  return reader.end();
}

for (const major of postgresMajors) {
  it(`the archive of PostgreSQL ${major} is understood, in whatever pieces it comes, and never when a byte of its end lacks`, {
    skip: await missing(`postgres-${major}`),
  }, async () => {
    await using server = await startPostgres(major);
    const rows = "insert into t select g, repeat('x', g) from generate_series(1, 50) g";
    await createDatabase(
      server,
      'a',
      'create table t (a int, b text)',
      rows,
      'create table empty ()',
      "select lo_from_bytea(0, 'x')",
    );
    const { source } = await captureOf(liveContext(), settingsFor(server, { databases: ['a'] }));
    const archive = await readAll(source.get(liveContext(), 'databases/a.dump'));
    const toc = readIn(archive.length, archive);
    const withData = toc.entries.filter(({ data }) => data).map(({ name }) => name);
    assert.equal(withData.length, 3);
    assert.deepEqual([toc.bytes, Number.parseInt(toc.server, 10)], [archive.length, major]);
    for (const { data } of toc.entries) if (data) assert.ok(archive[data.at] === 1 || archive[data.at] === 3);
    for (const pieces of [1, 2, 3, 7, 1000]) assert.deepEqual(readIn(pieces, archive), toc);
    for (let length = 0; length < archive.length; length += length < archive.length - 20 ? 311 : 1) {
      assert.throws(() => readIn(4096, archive.subarray(0, length)), { code: 'malformed' }, `${length} bytes`);
    }
    assert.throws(() => readIn(4096, Buffer.concat([archive, Buffer.from([9, 0, 0, 0, 0, 0])])), { code: 'malformed' });
    const compressed = Buffer.from(archive);
    compressed[major === 15 ? 12 : 11] = 1; // a level, then a method
    assert.throws(() => readIn(4096, compressed), { code: 'malformed' });
  });
}
