import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import {
  type Marked,
  marked,
  markerComesBack,
  markersComeAndGo,
  numbered,
  othersAreLeftAlone,
} from '../marker-testing.ts';
import { postgresqlDriver } from './driver.ts';
import { createDatabase, settingsFor, sql } from './testing.ts';

/** Ready to paste, for this user. */
function statementsOfPage(user: string): readonly string[] {
  const page = readFileSync('docs/markers.md', 'utf8').replaceAll('backup;', `${user};`);
  return [...page.matchAll(/```sql\n(.*?)```/gs)].map(([, text = '']) => text);
}

const OURS = {
  where: 'lifeboat.marker of shop',
  removed: ['table lifeboat.marker of shop', 'schema lifeboat of shop'],
};

describe('markers in postgresql', { skip: await missing('postgres-17') }, () => {
  const ctx = liveContext();
  let server: Postgres;
  const opened = (more: Record<string, unknown> = {}): Marked =>
    marked(postgresqlDriver.open(settingsFor(server, { databases: ['shop'], ...more })));
  before(async () => {
    server = await startPostgres(17, { conf: { wal_level: 'logical' } });
    await createDatabase(server, 'shop', 'create table customers (id int primary key)');
    await createDatabase(server, 'zoo');
  });
  after(async () => await server?.[Symbol.asyncDispose]());

  it('a row is written again and again, and removed with its table and schema', async () => {
    await markersComeAndGo(ctx, opened(), OURS);
    await opened().mark(ctx, numbered(1));
    await opened().mark(ctx, numbered(2));
    assert.deepEqual(await sql(server, 'shop', 'select count(*)::int as n from lifeboat.marker'), [{ n: 1 }]);
    await opened().unmark(ctx);
  });

  it('the first of all databases is marked, and the newest marker of all is found', async () => {
    const all = opened({ databases: 'all' });
    await markersComeAndGo(ctx, all, OURS);
    await opened({ databases: ['zoo'] }).mark(ctx, numbered(9));
    await all.mark(ctx, numbered(4));
    assert.deepEqual(await all.marker(ctx), { ...numbered(9), where: 'lifeboat.marker of zoo' });
    assert.equal((await all.unmark(ctx)).length, 4);
  });

  it('it comes back with a restore', async () => {
    await using target = await startPostgres(17);
    await markerComesBack(ctx, opened(), marked(postgresqlDriver.open(settingsFor(target, { databases: 'all' }))));
    await opened().unmark(ctx);
  });

  it('a schema that holds something else, or is not ours to drop, stays', async () => {
    await sql(server, 'shop', 'create schema lifeboat; create view lifeboat.other as select 1');
    await opened().mark(ctx, numbered(1));
    assert.deepEqual(await opened().unmark(ctx), ['table lifeboat.marker of shop']);
    await sql(server, 'shop', 'select * from lifeboat.other', 'drop schema lifeboat cascade');
  });

  it('what is none of ours is neither read as a marker, nor written over, nor removed', async () => {
    await sql(server, 'shop', 'create schema lifeboat; create table lifeboat.marker (mine text)');
    await othersAreLeftAlone(ctx, opened(), /lifeboat\.marker of shop is there and is no marker/);
    await sql(server, 'shop', 'select mine from lifeboat.marker', 'drop schema lifeboat cascade');
  });

  it('who may not write is told how, and the statements of the page suffice', async () => {
    await sql(server, 'shop', "create role writer login password 'secret'");
    const component = opened({ user: 'writer', password: 'secret' });
    await assert.rejects(component.mark(ctx, numbered(1)), { code: 'privileges', hint: /docs\/markers\.md/ });
    assert.equal(await component.marker(ctx), null);
    const [alone = '', withTable = ''] = statementsOfPage('writer');
    await sql(server, 'shop', alone);
    await markersComeAndGo(ctx, component, OURS);
    await sql(server, 'shop', 'create publication everything for all tables', withTable);
    await component.mark(ctx, numbered(1));
    assert.equal((await component.marker(ctx))?.number, 1);
    assert.deepEqual(await component.unmark(ctx), OURS.removed);
    await sql(server, 'shop', 'drop publication everything');
  });

  it('a database that does not let the user in is no reason not to look into the others', async () => {
    await sql(server, 'zoo', 'revoke connect on database zoo from public');
    const component = opened({ user: 'writer', password: 'secret', databases: 'all' });
    await sql(server, 'shop', statementsOfPage('writer')[0] ?? '');
    await markersComeAndGo(ctx, component, OURS);
  });

  it('subscribers of all tables are not stopped by a table that they lack', async () => {
    await sql(server, 'shop', 'create publication everything for all tables');
    await assert.rejects(opened().mark(ctx, numbered(1)), { code: 'blocked', message: /publication everything/ });
    assert.equal(await opened().marker(ctx), null);
    await sql(server, 'shop', 'drop publication everything');
  });

  it('a standby is left alone', async () => {
    await using standby = await startPostgres(17);
    await createDatabase(standby, 'shop');
    await standby.stop();
    writeFileSync(join(standby.dir, 'standby.signal'), '');
    await standby.start();
    const component = marked(postgresqlDriver.open(settingsFor(standby, { databases: ['shop'] })));
    await assert.rejects(component.mark(ctx, numbered(1)), { code: 'blocked', message: /is a standby/ });
    assert.equal(await component.marker(ctx), null);
  });
});
