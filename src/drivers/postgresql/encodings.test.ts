import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext } from '../../core/testing.ts';
import { openServer, postgresqlDriver } from './driver.ts';
import { captureOf, differences, plainOf, settingsFor, sql } from './testing.ts';
import { readToc } from './toc-part.ts';

const ctx = liveContext();

/** With names that its bytes tell as something else in UTF-8, or not at all. */
const SHOP = `
  create schema "SCHEMA";
  create type "SCHEMA"."KIND" as enum ('ENUM', 'b');
  create table "SCHEMA"."TABLE" ("COLUMN" serial primary key, kind "SCHEMA"."KIND" default 'ENUM', t text);
  comment on table "SCHEMA"."TABLE" is 'COMMENT';
  alter table "SCHEMA"."TABLE" owner to "OWNER";
  insert into "SCHEMA"."TABLE" (t) select 'TEXT' || g from generate_series(1, 20) g;
  create index "INDEX" on "SCHEMA"."TABLE" (t) where t <> 'TEXT';
  create table "LARGE" ("COLUMN" int, t text);
  insert into "LARGE" select g, 'TEXT' || repeat(md5(g::text), 30) from generate_series(1, 10000) g;
  create view "VIEW" as select "COLUMN", t || 'TEXT' as "TABLE" from "SCHEMA"."TABLE";
`;

interface Case {
  readonly encoding: string;
  readonly name: string;
  readonly schema: string;
  readonly owner: string;
  /** The other databases are in it as well. */
  readonly alone: boolean;
}
const CASES: readonly Case[] = [
  { encoding: 'LATIN1', name: 'größe', schema: 'ÿ\u0085Ã¼', owner: 'größe', alone: false },
  { encoding: 'WIN1251', name: 'заказы', schema: 'Ёлка', owner: 'склад', alone: true },
  { encoding: 'EUC_TW', name: '訂單', schema: '價格', owner: 'owner', alone: false }, // JavaScript does not know it
];

for (const { encoding, name, schema: other, owner, alone } of CASES) {
  // Roles belong to all databases: one that was made in UTF-8 is some of its bytes in others.
  const ownerThere = encoding === 'LATIN1' ? Buffer.from(owner).toString('latin1') : owner;
  const text = SHOP.replaceAll('SCHEMA', other)
    .replaceAll('"TABLE"', `"${name}"`)
    .replace('OWNER', ownerThere)
    .replace(/KIND|COLUMN|ENUM|COMMENT|TEXT|INDEX|LARGE|VIEW/g, (word) => `${word} ${name}`);

  describe(`a database in ${encoding} with names beyond ASCII`, { skip: await missing('postgres-15') }, () => {
    let server: Postgres;
    let target: Postgres;
    let point: Awaited<ReturnType<typeof captureOf>>;
    before(async () => {
      [server, target] = await Promise.all([startPostgres(15), startPostgres(15)]);
      const create = (database: string) =>
        `create database ${database} encoding '${encoding}' template template0 locale 'C'`;
      for (const each of alone ? [server, target] : []) {
        await sql(each, 'template1', 'drop database postgres', create('postgres'));
      }
      await sql(server, 'postgres', `create role "${owner}"`, create('shop'));
      await sql(server, 'shop', text);
      point = await captureOf(ctx, settingsFor(server, { databases: ['shop'] }));
    });
    after(async () => {
      await server?.[Symbol.asyncDispose]();
      await target?.[Symbol.asyncDispose]();
    });
    const into = (database: string) => settingsFor(target, { databases: [database], jobs: 2 });
    const restored = async (database: string, tables?: string[]) =>
      await postgresqlDriver
        .open(into(database))
        .restore(ctx, { base: point.source }, tables ? { select: { tables } } : {});
    const counted = async (database: string, table: string) =>
      await sql(target, database, `select count(*)::int as n from ${table}`);

    it('is captured, with its names as they are', async () => {
      const { toc } = (await readToc(ctx, point.source, 'shop')) ?? {};
      const tables = toc?.entries.filter(({ what }) => what === 'TABLE');
      assert.deepEqual(
        tables?.map((each) => [each.schema, each.name, each.owner]),
        [
          ['public', `LARGE ${name}`, 'postgres'],
          [other, name, owner],
        ],
      );
      const lines = await Array.fromAsync(inventoryOf(point.source).lines(ctx));
      assert.ok(lines.some((line) => line.kind === 'table' && line.name === `shop."${other}"."${name}"`));
    });

    it('comes back equal', async () => {
      assert.deepEqual((await restored('all')).warnings, []);
      assert.deepEqual(await differences(ctx, point.source, into('all')), []);
    });

    it('gives single tables by their names', async () => {
      await restored('some', [`${other}.${name}`]);
      assert.deepEqual(await counted('some', `"${other}"."${name}"`), [{ n: 20 }]);
      await restored('some', [`"LARGE ${name}"`]);
      assert.deepEqual(await counted('some', `"LARGE ${name}"`), [{ n: 10000 }]);
      await assert.rejects(restored('some', [name]), { code: 'target-not-empty' });
    });

    it('gives single rows', async () => {
      const selection = { tables: [name], where: `"COLUMN ${name}" = 7` };
      const source = openServer(settingsFor(server, { databases: ['shop'] }));
      const sandbox = async () => openServer(settingsFor(target));
      const rows = await Array.fromAsync(source.extract(ctx, { base: point.source }, selection, sandbox));
      assert.deepEqual(
        rows.map(({ value }) => value),
        [{ [`COLUMN ${name}`]: '7', kind: `ENUM ${name}`, t: `TEXT ${name}7` }],
      );
    });

    it('comes back from its plain form, which is in the same encoding', async () => {
      const plain = await plainOf(ctx, point);
      const written = await readAll(plain.get(ctx, 'databases/shop.sql'));
      assert.ok(written.includes(`SET client_encoding = '${encoding}'`));
      await postgresqlDriver.open(into('plain')).restore(ctx, { base: plain });
      assert.deepEqual(await differences(ctx, plain, into('plain')), []);
    });
  });
}

it('names that are told in no encoding, or in one that UTF-8 does not have, are refused and never changed', {
  skip: await missing('postgres-15'),
}, async () => {
  await using server = await startPostgres(15);
  const refused: readonly [encoding: string, told: RegExp][] = [
    ['SQL_ASCII', /invalid byte sequence for encoding "UTF8": 0xff/],
    ['MULE_INTERNAL', /MULE_INTERNAL/],
  ];
  for (const [encoding, message] of refused) {
    const database = encoding.toLowerCase();
    await sql(server, 'postgres', `create database ${database} encoding '${encoding}' template template0 locale 'C'`);
    if (encoding === 'SQL_ASCII') {
      const odd = "execute format('create table %I ()', convert_from('\\xff', 'SQL_ASCII'))";
      await sql(server, database, `do $$ begin ${odd}; end $$`);
    }
    const captured = captureOf(ctx, settingsFor(server, { databases: [database] }));
    await assert.rejects(captured, { message });
  }
});
