import { randomUUID } from 'node:crypto';
import { delimiter } from 'node:path';
import { after, before } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { driverSuite } from '../driver.suite.ts';
import { postgresqlDriver } from './driver.ts';
import { createDatabase, quotedName, SHOP, settingsFor, sql } from './testing.ts';

const SECRET = 'sesame of the tests';

for (const major of postgresMajors) {
  const skip = await missing(`postgres-${major}`);
  let source: Postgres;
  let target: Postgres;
  before(async () => {
    if (skip !== false) return;
    [source, target] = await Promise.all([startPostgres(major), startPostgres(major)]);
    // Sandboxes and plain stores look for programs where every machine has them.
    process.env.PATH = [source.bin, process.env.PATH].join(delimiter);
    await createDatabase(source, 'shop_template', SHOP);
  });
  after(async () => {
    await source?.[Symbol.asyncDispose]();
    await target?.[Symbol.asyncDispose]();
  });

  const dropping = (server: Postgres, name: string): AsyncDisposable => ({
    [Symbol.asyncDispose]: async () =>
      void (await sql(server, 'postgres', `drop database if exists ${quotedName(name)} with (force)`)),
  });

  driverSuite({
    driver: postgresqlDriver,
    name: `postgresql ${major}`,
    skip,
    secret: SECRET,
    nowhere: { host: '127.0.0.1', port: 1, user: 'nobody', databases: ['shop'] },
    async filled() {
      const name = `shop "${randomUUID().slice(0, 8)}"`;
      await sql(source, 'postgres', `create database ${quotedName(name)} template shop_template`);
      return {
        ...dropping(source, name),
        settings: settingsFor(source, { databases: [name] }),
        change: async () => void (await sql(source, name, "update customers set note = '{}' where id = 1000")),
        extract: {
          selection: { tables: ['customers'], where: 'id <= 5 -- the first' },
          keys: ['1', '2', '3', '4', '5'],
          damage: async () =>
            void (await sql(
              source,
              name,
              "delete from customers where id = 1; update customers set name = 'x' where id = 2",
            )),
        },
      };
    },
    async empty() {
      const name = `empty '${randomUUID().slice(0, 8)}`;
      return { ...dropping(target, name), settings: settingsFor(target, { databases: [name] }) };
    },
  });
}
