import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { readAll } from '../../core/bytes.ts';
import type { Bytes, Context, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { intAt, intOf, type Toc } from './archive.ts';
import { postgresqlDriver } from './driver.ts';
import { restoreRows } from './restore-rows.ts';
import { captureOf, createDatabase, differences, settingsFor, sql } from './testing.ts';

const HEAD = Buffer.from('the table of contents');
const END = '\\.\n\n\n';
const ctx = liveContext();

/** A block whose chunks are these texts. */
function blockOf(id: number, chunks: readonly string[]): Buffer {
  const framed = chunks.flatMap((text) => [intOf(Buffer.byteLength(text)), Buffer.from(text)]);
  return Buffer.concat([Buffer.of(1), intOf(id), ...framed, intOf(0)]);
}

async function archiveOf(blocks: readonly Buffer[]): Promise<{ source: Source; toc: Toc }> {
  const { sink, source } = memoryParts();
  const whole = Buffer.concat([HEAD, ...blocks]);
  let at = HEAD.length;
  const entries = blocks.map((block, i) => {
    const data = { at, bytes: block.length };
    at += block.length;
    const place = { schema: 'public', owner: 'me', tablespace: '', needs: [], field: 0 };
    return { ...place, id: i + 7, what: 'TABLE DATA', name: `t${i}`, data };
  });
  async function* body(): Bytes {
    yield whole;
  }
  await sink.put(ctx, 'archive', body());
  const toc = { writtenBy: '17', server: '17', database: 'd', blocksAt: HEAD.length, bytes: whole.length, entries };
  return { source, toc };
}

/** The rows of each block that one session was given. */
function tablesOf(archive: Buffer): string[] {
  assert.ok(archive.subarray(0, HEAD.length).equals(HEAD));
  const tables: string[] = [];
  for (let at = HEAD.length; at < archive.length; ) {
    assert.deepEqual([archive[at], intAt(archive, at + 1)], [1, 7 + tables.length]);
    at += 6;
    const chunks: Buffer[] = [];
    for (let length = intAt(archive, at); length > 0; length = intAt(archive, at)) {
      chunks.push(archive.subarray(at + 5, at + 5 + length));
      at += 5 + length;
    }
    at += 5;
    tables.push(Buffer.concat(chunks).toString());
  }
  return tables;
}

async function given(blocks: readonly Buffer[], jobs: number): Promise<string[][]> {
  const { source, toc } = await archiveOf(blocks);
  const sessions: string[][] = [];
  const run = async (_: Context, archive: Bytes): Promise<void> => {
    sessions.push(tablesOf(await readAll(archive)));
  };
  const bytes = await restoreRows(ctx, source, { part: 'archive', toc, tables: toc.entries, jobs, run });
  assert.equal(bytes, toc.bytes - HEAD.length);
  return sessions;
}

function linesOf(sessions: readonly string[][], table: number): string[] {
  return sessions.flatMap((tables) => {
    const text = (tables[table] ?? '').replace(END, '');
    assert.ok(text === '' || text.endsWith('\n'), 'no row is cut');
    return text.split('\n').slice(0, -1);
  });
}

describe('the rows of large tables', () => {
  const short = Array.from({ length: 20_000 }, (_, i) => `${i}\t${'x'.repeat(i % 97)}\n`);
  const long = Array.from({ length: 12 }, (_, i) => `${i}\t${String(i % 10).repeat(200_000 * (i % 4))}\n`);

  it('go each to one session, whole, whatever their length', async () => {
    const sessions = await given([blockOf(7, [...short, END]), blockOf(8, [...long, END])], 3);
    assert.equal(sessions.length, 3);
    for (const [table, rows] of [short, long].entries()) {
      assert.deepEqual(linesOf(sessions, table).sort(), rows.map((row) => row.slice(0, -1)).sort());
      assert.ok(sessions.filter((tables) => tables[table] !== '').length > 1, 'one session got all of a table');
    }
  });

  it('are not cut where a chunk ends within a row', async () => {
    const text = short.join('');
    const chunks = Array.from({ length: Math.ceil(text.length / 1000) }, (_, i) =>
      text.slice(i * 1000, i * 1000 + 1000),
    );
    assert.deepEqual(
      linesOf(await given([blockOf(7, [...chunks, END])], 2), 0).sort(),
      text.split('\n').slice(0, -1).sort(),
    );
  });

  it('are no success when a session did not take its share, or their block is damaged', async () => {
    const { source, toc } = await archiveOf([blockOf(7, [...short, END])]);
    const restore = (of: Toc, run: (ctx: Context, archive: Bytes) => Promise<void>): Promise<number> =>
      restoreRows(ctx, source, { part: 'archive', toc: of, tables: of.entries, jobs: 2, run });
    const readsAll = async (_: Context, archive: Bytes): Promise<void> => void (await readAll(archive));
    let first = true;
    const firstReadsNothing = async (c: Context, archive: Bytes): Promise<void> => {
      if (!first) return await readsAll(c, archive);
      first = false;
    };
    await assert.rejects(restore(toc, firstReadsNothing), { code: 'program-failed' });
    const broken = (change: { at?: number; bytes?: number; id?: number }): Toc => ({
      ...toc,
      entries: toc.entries.map((entry) => {
        const { at = 0, bytes = 0, id = 0 } = change;
        const data = { at: (entry.data?.at ?? 0) + at, bytes: (entry.data?.bytes ?? 0) + bytes };
        return { ...entry, id: entry.id + id, data };
      }),
    });
    for (const change of [{ bytes: -1 }, { at: 1, bytes: -1 }, { id: 1 }]) {
      await assert.rejects(restore(broken(change), readsAll), { code: 'malformed' });
    }
  });

  it('of one session that fails end the others, and its reason is the one that is told', async () => {
    const { source, toc } = await archiveOf([blockOf(7, [...short, END])]);
    let ended = 0;
    let begun = 0;
    const run = async (stoppable: Context): Promise<void> => {
      if (++begun === 1) throw new Error('the first of all');
      const stopped = Promise.withResolvers<void>();
      if (stoppable.signal.aborted) stopped.resolve();
      else stoppable.signal.addEventListener('abort', () => stopped.resolve());
      await stopped.promise;
      ended += 1;
      throw new Error('stopped');
    };
    const restored = restoreRows(ctx, source, { part: 'archive', toc, tables: toc.entries, jobs: 3, run });
    await assert.rejects(restored, { message: 'the first of all' });
    assert.equal(ended, begun - 1);
  });
});

/** Tables that are large, with all that comes before their rows and after them; rows that are longer than any piece. */
const LARGE = `
  create role keeper login;
  grant create on schema public to keeper;
  create function is_fine(int) returns boolean language sql as 'select $1 >= 0';
  create table small (id int primary key, note text);
  insert into small select g, 'note ' || g from generate_series(1, 10) g;
  create table lines (id int generated always as identity primary key, small int references small, t text check (is_fine(length(t))),
    long int generated always as (length(t)) stored);
  insert into lines (small, t) select 1 + g % 10, repeat(md5(g::text), 5) from generate_series(1, 60000) g;
  create index on lines (long);
  create table later (id int primary key, body text);
  insert into later select g, repeat(md5(g::text), 20000) from generate_series(1, 20) g;
  insert into later select 100 + g, E'a\\tb\\nc\\\\.\\n' || repeat('z', g % 50) from generate_series(1, 2000) g;
  alter table lines owner to keeper;
  revoke all on lines from keeper;
  create materialized view sums as select small, count(*) from lines group by small;
  create function quiet() returns trigger language plpgsql as 'begin raise exception ''fired''; end';
  create trigger quiet before insert on later for each row execute function quiet();
`;
for (const major of postgresMajors) {
  describe(`large tables of PostgreSQL ${major}`, { skip: await missing(`postgres-${major}`) }, () => {
    let server: Postgres;
    before(async () => {
      server = await startPostgres(major);
      await createDatabase(server, 'large', LARGE);
    });
    after(async () => await server?.[Symbol.asyncDispose]());

    it('come back equal by several sessions, with what needs them', async () => {
      const { source } = await captureOf(ctx, settingsFor(server, { databases: ['large'] }));
      const target = settingsFor(server, { databases: ['back'], jobs: 3 });
      const { bytes } = await postgresqlDriver.open(target).restore(ctx, { base: source });
      assert.deepEqual(await differences(ctx, source, target), []);
      assert.equal(bytes, (await source.part(ctx, 'databases/large.dump')).bytes);
    });

    it('come back by their owner, who has no privileges on them', async () => {
      const password = "keeper's own";
      const login = { ...server, user: 'keeper', password };
      await sql(server, 'postgres', `alter role keeper createdb password '${password.replace("'", "''")}'`);
      await sql(login, 'postgres', 'create database kept');
      const rows = 'insert into mine select repeat(md5(g::text), 5) from generate_series(1, 60000) g';
      await sql(login, 'kept', `create table mine (t text); ${rows}; revoke all on mine from keeper`);
      const { source } = await captureOf(ctx, settingsFor(server, { databases: ['kept'] }));
      const target = { ...settingsFor(server, { databases: ['again'] }), user: 'keeper', password };
      await postgresqlDriver.open(target).restore(ctx, { base: source });
      assert.deepEqual(await differences(ctx, source, settingsFor(server, { databases: ['again'] })), []);
    });
  });
}
