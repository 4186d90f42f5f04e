import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { damaged } from './diagnosis.ts';
import { serverOf } from './settings.ts';
import { captureOf, createDatabase, settingsFor, sql } from './testing.ts';

describe('fault 36: a page whose checksum is wrong makes the capture fail, and is named', async () => {
  for (const major of postgresMajors) {
    it(`by PostgreSQL ${major}, in a table and in its large values`, {
      skip: await missing(`postgres-${major}`),
    }, async () => {
      await using server = await startPostgres(major, { checksums: true });
      await createDatabase(
        server,
        'shop',
        "create table t as select g as a, repeat('x', 1000) as b from generate_series(1, 100) g",
        'create table toasted (big text); alter table toasted alter big set storage external',
        "insert into toasted select repeat('x', 5000) from generate_series(1, 20)",
        'checkpoint',
      );
      const paths = `select pg_relation_filepath('t') as t,
        pg_relation_filepath((select reltoastrelid from pg_class where relname = 'toasted')) as toasted`;
      const [row] = await sql(server, 'shop', paths);
      const files = row as { t: string; toasted: string };
      const settings = (inventory: string) => settingsFor(server, { databases: ['shop'], inventory });

      await server.stop();
      await spoilt(join(server.dir, files.t), 3);
      await server.start();
      for (const inventory of ['full', 'counts']) {
        const refusal = { code: 'source-damaged', message: /block 3 of public\.t \(base\/\d+\/\d+\) can not be read/ };
        await assert.rejects(captureOf(liveContext(), settings(inventory)), refusal);
      }
      await assert.rejects(captureOf(liveContext(), { ...settings('full'), capture: ['physical'] }), {
        code: 'source-damaged',
        message: new RegExp(`${files.t}", block 3`),
      });

      await server.stop();
      await spoilt(join(server.dir, files.t), 3); // the same bits once more, and it is well again
      await spoilt(join(server.dir, files.toasted), 1);
      await server.start();
      await assert.rejects(captureOf(liveContext(), settings('counts')), {
        code: 'source-damaged',
        message: /block 1 of pg_toast\.pg_toast_\d+ of public\.toasted/,
      });
    });
  }
});

/** Turns the bits of a byte in the middle of a page. */
async function spoilt(path: string, block: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const at = block * 8192 + 5000;
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
    await file.write(Buffer.from([(buffer[0] ?? 0) ^ 0xff]), 0, 1, at);
  } finally {
    await file.close();
  }
}

it('a damaged page is told as such, though the server can not be asked whose it is', async () => {
  const server = serverOf({ host: '127.0.0.1', port: 1 });
  const page = { blocks: '7', file: 'base/5/16385' };
  const { code, message } = await damaged(liveContext(), server, { database: 'shop', page, cause: new Error('why') });
  assert.equal(code, 'source-damaged');
  assert.match(
    message,
    /block 7 of a relation \(base\/5\/16385\) can not be read; whose it is is not known: .*ECONNREFUSED/,
  );
});
