import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import type { Bytes } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import type { CopyTexts, TocEntry } from './archive.ts';
import { sqlState } from './connection.ts';
import { postgresqlDriver } from './driver.ts';
import { openCopies } from './restore-copy.ts';
import { serverOf } from './settings.ts';
import { captureOf, createDatabase, differences, settingsFor, sql } from './testing.ts';

const ctx = liveContext();
const TABLE: TocEntry = {
  ...{ id: 7, what: 'TABLE DATA', schema: 'public', name: 't', owner: 'postgres', tablespace: '' },
  ...{ needs: [], field: 0, data: null },
};

function textsOf(statement: string): CopyTexts {
  return { encoding: 'UTF8', statements: new Map([[7, Buffer.from(statement)]]) };
}

async function* rows(...texts: string[]): Bytes {
  for (const text of texts) yield Buffer.from(text);
}

/** Tables that are large, of which two sessions fill each its own; columns and rows with more than ASCII. */
const LATIN = `
  create type kind as enum ('a', 'b');
  create table "Sizes, in ""m""" ("weiß (kg)" text, "select" XML, made int generated always as (length("weiß (kg)")) stored);
  insert into "Sizes, in ""m""" select 'é' || repeat(md5(g::text), 20), '<a>ü</a>' from generate_series(1, 14000) g;
  create table parted (k kind, t text) partition by hash (k);
  create table parted_0 partition of parted for values with (modulus 2, remainder 0);
  create table parted_1 partition of parted for values with (modulus 2, remainder 1);
  insert into parted select (enum_range(null::kind))[1 + g % 2], 'ß' || repeat(md5(g::text), 20)
    from generate_series(1, 28000) g;
  create table above (price money, at timestamptz, day date check (day = at::date));
  create table below (t text) inherits (above);
  insert into below select g * 1.01, at, at::date, repeat(md5(g::text), 20)
    from generate_series(1, 14000) g, lateral (select timestamptz '2024-02-29 12:00+02' + g * interval '1 min') v (at);
  alter table below add primary key (t);
`;

it('a connection that breaks is no refusal of the server', () => {
  assert.equal(sqlState(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })), '');
  assert.equal(sqlState(Object.assign(new Error('no'), { code: 'XX000' })), 'XX000');
});

for (const major of postgresMajors) {
  describe(`rows that come to PostgreSQL ${major} by our own sessions`, {
    skip: await missing(`postgres-${major}`),
  }, () => {
    let server: Postgres;
    before(async () => {
      server = await startPostgres(major);
    });
    after(async () => await server?.[Symbol.asyncDispose]());

    it('are equal in any encoding, wherever they go; and frozen where one session has all of a table', async () => {
      // What day it is in a check is said by the server's own settings, and the target's are these too.
      await sql(server, 'postgres', "alter system set timezone = 'Asia/Tokyo'", 'select pg_reload_conf()');
      await sql(server, 'postgres', "create database latin encoding 'LATIN1' template template0");
      await sql(server, 'latin', LATIN.replace('XML', major === 15 ? 'xml' : 'text')); // not every build has it
      const { source } = await captureOf(ctx, settingsFor(server, { databases: ['latin'] }));
      const target = settingsFor(server, { databases: ['back'], jobs: 2 });
      await postgresqlDriver.open(target).restore(ctx, { base: source });
      assert.deepEqual(await differences(ctx, source, target), []);
      // As the index was made; the server has made some pages more than it needed.
      const frozen = "select relallvisible > relpages / 2 as frozen from pg_class where relname = 'below'";
      assert.deepEqual(await sql(server, 'back', frozen), [{ frozen: true }]);
    });

    it('leave what a table holds, and name the line that is refused, without its values', async () => {
      await createDatabase(server, 'held', 'create table t (a int, b text)', "insert into t values (1, 'here')");
      const login = serverOf(settingsFor(server));
      {
        await using session = await openCopies(ctx, login, 'held', textsOf('COPY public.t (a, b) FROM stdin;\n'));
        await session.copy(TABLE, rows('2\tthere\n'), { alone: true });
        const refused = session.copy(TABLE, rows('3\tc\n4\td\nx\tsecret\n'), { alone: true });
        await assert.rejects(refused, {
          code: 'query-failed',
          message: /COPY t, line 3: invalid input .* integer: "x"$/,
        });
      }
      assert.deepEqual(await sql(server, 'held', 'select a from t order by a'), [{ a: 1 }, { a: 2 }]);
    });

    it('are whole though their chunk is written over, and fail with what they can not be read for', async () => {
      await createDatabase(server, 'lent', 'create table t (a int, b text)');
      const lines = Array.from({ length: 3000 }, (_, i) => `${i}\t${'x'.repeat(i % 97)}\n`).join('');
      async function* lent(): Bytes {
        const buffer = Buffer.alloc(1009);
        for (let at = 0; at < lines.length; at += buffer.length) {
          yield buffer.subarray(0, buffer.write(lines.slice(at, at + buffer.length)));
          buffer.fill(0x21);
        }
      }
      const broken = new Error('a blob is damaged');
      async function* failing(): Bytes {
        yield* lent();
        throw broken;
      }
      const login = serverOf(settingsFor(server));
      await using session = await openCopies(ctx, login, 'lent', textsOf('COPY public.t (a, b) FROM stdin;\n'));
      await session.copy(TABLE, lent(), { alone: true });
      const sums = 'select count(*)::int, sum(a)::int as a, sum(length(b))::int as b from t';
      const [expected] = await sql(
        server,
        'lent',
        `${sums.replace('from t', '')} from
        (select g as a, repeat('x', g % 97) as b from generate_series(0, 2999) g) t`,
      );
      assert.deepEqual(await sql(server, 'lent', sums), [expected]);
      await assert.rejects(session.copy(TABLE, failing(), { alone: false }), (error) => error === broken);
      assert.deepEqual(await sql(server, 'lent', sums), [expected]);
    });

    it('go into a table of an extension as pg_restore would give them, without truncating it', async () => {
      const extended = 'create table refers (a int references t); alter extension plpgsql add table t';
      await createDatabase(server, 'extended', 'create table t (a int primary key)', extended);
      const login = serverOf(settingsFor(server));
      await using session = await openCopies(ctx, login, 'extended', textsOf('COPY public.t (a) FROM stdin;\n'));
      await session.copy(TABLE, rows('1\n'), { alone: true });
      assert.deepEqual(await sql(server, 'extended', 'select a from t'), [{ a: 1 }]);
    });

    it('go nowhere by a statement that is no COPY of one table', async () => {
      await createDatabase(server, 'spared', 'create table t (a int)');
      for (const statement of [
        '',
        'COPY public.t (a) FROM stdin; drop table t;\n',
        "COPY public.t (a) FROM program 'true';\n",
        'COPY public.t (a) , t FROM stdin;\n',
        'COPY public.t (a) FROM stdin WITH (freeze);\n',
        'COPY public.t (length(a)) FROM stdin;\n',
        'COPY public.t /* */ (a) FROM stdin;\n',
        'COPY t (a) FROM stdin;\n',
        'COPY U&"public".t (a) FROM stdin;\n',
        'COPY public."t" (a)\nFROM stdin;\n',
        'COPY public.t (a) FROM stdin;\n\n',
      ]) {
        await using session = await openCopies(ctx, serverOf(settingsFor(server)), 'spared', textsOf(statement));
        await assert.rejects(session.copy(TABLE, rows('1\n'), { alone: true }), { code: 'malformed' }, statement);
      }
      assert.deepEqual(await sql(server, 'spared', 'select a from t'), []);
    });
  });
}
