import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { needServer } from '../../../test/servers/need.ts';
import { startPostgres } from '../../../test/servers/postgres.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { testContext } from '../../core/testing.ts';
import { recogniseFile } from './plain.ts';
import { createDatabase } from './testing.ts';

const exec = promisify(execFile);

async function check(text: string): Promise<void> {
  const { checked } = recogniseFile('postgres_shop_20260128_120000.sql.gz') ?? {};
  assert.ok(checked);
  assert.equal((await readAll(checked(testContext(), bytesOf(text)))).toString(), text);
}

describe('a dump that an old script wrote', () => {
  it('is known by its name, with its database and its time', () => {
    const known = (name: string) => {
      const { part, stamp } = recogniseFile(name) ?? {};
      return [part, stamp];
    };
    const stamp = '2024-02-23-020000';
    assert.deepEqual(known(`postgres-${stamp}.sql.gz`), ['databases/postgres.sql', stamp]);
    assert.deepEqual(known(`postgres-${stamp}-globals.sql.gz`), ['globals.sql', stamp]);
    const underscored = 'postgres_my_shop_20260128_120000.sql.gz';
    assert.deepEqual(known(underscored), ['databases/my_shop.sql', '20260128_120000']);
    assert.equal(recogniseFile('redis-2024-02-23-020000.rdb'), null);
  });

  for (const major of [15, 18] as const) {
    it(`of PostgreSQL ${major} is taken when it is whole, and not when its end is missing`, async (t) => {
      if (!(await needServer(t, `postgres-${major}`))) return;
      await using server = await startPostgres(major);
      await createDatabase(server, 'shop', 'create table orders as select generate_series(1, 2000) as id');
      const env = { PGHOST: server.host, PGPORT: `${server.port}`, PGUSER: server.user, PGPASSWORD: server.password };
      const texts = new Map<string, string>();
      for (const line of ['pg_dump shop', 'pg_dump --verbose shop', 'pg_dumpall', 'pg_dumpall --globals-only']) {
        const [program = '', ...args] = line.split(' ');
        texts.set(line, (await exec(join(server.bin, program), args, { env })).stdout);
      }
      const [globals, all] = [texts.get('pg_dumpall --globals-only') ?? '', texts.get('pg_dumpall') ?? ''];
      texts.set('roles before a database', globals + texts.get('pg_dump shop'));
      texts.set('roles after a database', texts.get('pg_dump shop') + globals);
      for (const [made, text] of texts) {
        await check(text);
        await check(`${text}\n \r\n`);
        for (const share of [0.1, 0.5, 0.99]) {
          const cut = text.slice(0, text.length * share);
          await assert.rejects(check(cut), { code: 'malformed' }, `${made} cut at ${cut.length} of ${text.length}`);
        }
        await assert.rejects(check(`${text}select 1;\n`), { code: 'malformed' }, `${made} and more`);
      }
      const last = '\n-- PostgreSQL database dump complete\n--\n';
      assert.ok(all.includes(last));
      await assert.rejects(
        check(all.slice(0, all.indexOf(last) + last.length)),
        { code: 'malformed' },
        'pg_dumpall that ended after a database',
      );
    });
  }

  it('is no backup when nothing is in it, as of a pg_dump that reached no server', async () => {
    await assert.rejects(check(''), { code: 'malformed', message: /ended before it began/ });
  });

  it('is taken as it is where it does not say how it ends', async () => {
    await check('create table a (id int);\n');
  });
});
