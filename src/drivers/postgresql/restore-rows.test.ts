import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { readAll } from '../../core/bytes.ts';
import type { Bytes, Context, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { intOf, type Toc, type TocEntry } from './archive.ts';
import { postgresqlDriver } from './driver.ts';
import type { CopySession } from './restore-copy.ts';
import { dealt, restoreRows, stepsOf } from './restore-rows.ts';
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

type Copy = CopySession['copy'];

/** Sessions that take what they are given by this. */
function opened(
  copy: (...given: [...Parameters<Copy>, Context]) => Promise<void>,
): (ctx: Context) => Promise<CopySession> {
  return async (c) => ({ copy: (...given) => copy(...given, c), [Symbol.asyncDispose]: async () => undefined });
}

const readsAll = async (_: TocEntry, rows: Bytes): Promise<void> => void (await readAll(rows));

/** The rows of each table, by its name, that one session was given; and whether it was to have all of them. */
type Given = Map<string, { text: string; alone: boolean }>;

async function given({ source, toc }: { source: Source; toc: Toc }, jobs: number): Promise<Given[]> {
  const sessions: Given[] = [];
  const open = async (): Promise<CopySession> => {
    const tables: Given = new Map();
    sessions.push(tables);
    return {
      async copy({ name }, rows, { alone }) {
        const text = (await readAll(rows)).toString();
        assert.ok(!tables.has(name));
        tables.set(name, { text, alone });
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  };
  const bytes = await restoreRows(ctx, source, { part: 'archive', tables: toc.entries, jobs, open });
  assert.equal(bytes, toc.bytes - HEAD.length);
  return sessions;
}

function linesOf(sessions: readonly Given[], table: number): string[] {
  return sessions.flatMap((tables) => {
    const text = (tables.get(`t${table}`)?.text ?? '').replace(END, '');
    assert.ok(text === '' || text.endsWith('\n'), 'no row is cut');
    return text.split('\n').slice(0, -1);
  });
}

describe('the rows of large tables', () => {
  const short = Array.from({ length: 20_000 }, (_, i) => `${i}\t${'x'.repeat(i % 97)}\n`);
  const long = Array.from({ length: 12 }, (_, i) => `${i}\t${String(i % 10).repeat(200_000 * (i % 4))}\n`);

  it('go each to one session, whole, whatever their length', async () => {
    const sessions = await given(await archiveOf([blockOf(7, [...short, END]), blockOf(8, [...long, END])]), 3);
    assert.equal(sessions.length, 3);
    for (const [table, rows] of [short, long].entries()) {
      assert.deepEqual(linesOf(sessions, table).sort(), rows.map((row) => row.slice(0, -1)).sort());
      const having = sessions.map((tables) => tables.get(`t${table}`)).filter((one) => one && one.text !== '');
      // The shorter table is less than a third of both.
      assert.ok(having.length > table, 'one session got all of a long table');
      assert.deepEqual([...new Set(having.map((one) => one?.alone))], [table === 0]);
    }
  });

  it('go to one session where it is no later for them, and those that are more than that to all', () => {
    const table = (id: number, bytes: number): TocEntry => {
      const place = { schema: 'public', owner: 'me', tablespace: '', needs: [], field: 0 };
      return { ...place, id, what: 'TABLE DATA', name: `${id}`, data: { at: 0, bytes } };
    };
    const ids = (jobs: number, ...sizes: number[]): number[][] => {
      const { alone, shared } = dealt(
        sizes.map((bytes, i) => table(i, bytes)),
        jobs,
      );
      return [alone, shared].map((entries) => entries.map(({ id }) => id));
    };
    assert.deepEqual(ids(2, 17, 13, 70), [[0, 1], [2]]);
    assert.deepEqual(ids(2, 34, 33, 33), [[0, 1], [2]]);
    assert.deepEqual(ids(2, 50, 20, 30), [[0, 2, 1], []]);
    assert.deepEqual(ids(2, 9), [[], [0]]);
    assert.deepEqual(ids(3, 20, 20, 20, 20, 20), [
      [0, 1, 2],
      [3, 4],
    ]);
  });

  it('are not cut where a chunk ends within a row', async () => {
    const text = short.join('');
    const chunks = Array.from({ length: Math.ceil(text.length / 1000) }, (_, i) =>
      text.slice(i * 1000, i * 1000 + 1000),
    );
    assert.deepEqual(
      linesOf(await given(await archiveOf([blockOf(7, [...chunks, END])]), 2), 0).sort(),
      text.split('\n').slice(0, -1).sort(),
    );
  });

  it('keep the mark behind them in one piece, even where it comes in several', async () => {
    const rows = [`${'x'.repeat(128 * 1024 - 3 - 1)}\n`, ...END];
    const sessions = await given(await archiveOf([blockOf(7, rows)]), 3);
    const lengths = sessions.map((tables) => tables.get('t0')?.text.length);
    assert.deepEqual(lengths.sort(), [0, 0, rows.join('').length]);
  });

  it('are whole, wherever the chunks of the store end and whatever becomes of those that were read', async () => {
    const { source, toc } = await archiveOf([blockOf(7, [...short, END])]);
    const reusing: Source = {
      ...source,
      async *get(c, name, range) {
        const buffer = Buffer.alloc(1009);
        for await (const chunk of source.get(c, name, range)) {
          for (let at = 0; at < chunk.length; at += buffer.length) {
            yield buffer.subarray(0, Buffer.from(chunk).copy(buffer, 0, at));
            buffer.fill(0x21);
          }
        }
      },
    };
    assert.deepEqual(
      linesOf(await given({ source: reusing, toc }, 2), 0).sort(),
      short.map((row) => row.slice(0, -1)).sort(),
    );
  });

  it('are read from no more places of the archive at a time than there are jobs, however many tables there are', async () => {
    const { source, toc } = await archiveOf(Array.from({ length: 9 }, (_, i) => blockOf(7 + i, [...short, END])));
    let open = 0;
    const counting: Source = {
      ...source,
      async *get(c, name, range) {
        assert.ok(++open <= 3);
        yield* source.get(c, name, range);
        open -= 1;
      },
    };
    await restoreRows(ctx, counting, { part: 'archive', tables: toc.entries, jobs: 3, open: opened(readsAll) });
    assert.equal(open, 0);
  });

  it('that can not be read fail with what the store says, whoever is told first', async () => {
    const { source, toc } = await archiveOf([blockOf(7, [...short, END])]);
    const broken: Source = {
      ...source,
      async *get(c, name, range) {
        let bytes = 0;
        for await (const chunk of source.get(c, name, range)) {
          bytes += chunk.length;
          if (bytes > 300_000) throw new Error('a blob is damaged');
          yield chunk;
        }
      },
    };
    const all = Promise.withResolvers<void>();
    let failed = 0;
    const open = opened(async (_, rows) => {
      try {
        await readAll(rows);
      } catch (error) {
        if (++failed === 2) all.resolve();
        else await all.promise;
        throw error;
      }
    });
    const restored = restoreRows(ctx, broken, { part: 'archive', tables: toc.entries, jobs: 2, open });
    await assert.rejects(restored, { message: 'a blob is damaged' });
  });

  it('that are cut by the end of their session go on in no other', async () => {
    const { source, toc } = await archiveOf([blockOf(7, [`${'long '.repeat(300_000)}\n`, END])]);
    const others: Buffer[] = [];
    let cut = false;
    const open = opened(async (_, rows) => {
      for await (const chunk of rows) {
        if (chunk.length > 100_000 && !cut) {
          cut = true;
          break;
        }
        others.push(Buffer.from(chunk));
      }
      for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve));
      throw new Error('its session has ended');
    });
    const restored = restoreRows(ctx, source, { part: 'archive', tables: toc.entries, jobs: 2, open });
    await assert.rejects(restored, { message: 'its session has ended' });
    assert.ok(cut && !Buffer.concat(others).includes('long'));
  });

  it('are not streamed where they need the rows of others, or others theirs; rows of small tables come first', () => {
    const entry = (id: number, what: string, megabytes: number, needs: readonly number[] = []): TocEntry => {
      const data = megabytes === 0 ? null : { at: 0, bytes: megabytes * 2 ** 20 };
      return { id, what, data, needs: [...needs], name: `${id}`, schema: '', owner: '', tablespace: '', field: 0 };
    };
    const entries = [
      entry(1, 'EXTENSION', 0),
      entry(2, 'TABLE', 0),
      entry(3, 'ACL', 0),
      entry(4, 'TABLE DATA', 9, [2]),
      entry(5, 'TABLE DATA', 9, [1]), // of tables of the extension
      entry(6, 'TABLE DATA', 1, [1, 5]),
      entry(7, 'TABLE DATA', 9, [1, 6]),
      entry(8, 'BLOBS', 9),
      entry(9, 'TABLE DATA', 1, [2]),
      entry(10, 'INDEX', 0, [2]),
    ];
    const toc: Toc = { writtenBy: '17', server: '17', database: 'd', blocksAt: 0, bytes: 0, entries };
    const steps = stepsOf(toc);
    const ids = (of: readonly TocEntry[] = []): number[] => of.map(({ id }) => id);
    assert.deepEqual(ids(steps?.before), [1, 2, 5, 6, 7, 9]);
    assert.deepEqual(ids(steps?.large), [4]);
    assert.deepEqual(ids(steps?.after), [3, 8, 10]);
    assert.equal(stepsOf({ ...toc, entries: entries.slice(4) }), null);
  });

  it('are no success when their block is damaged', async () => {
    const { source, toc } = await archiveOf([blockOf(7, [...short, END])]);
    const restore = ({ entries: tables }: Toc): Promise<number> =>
      restoreRows(ctx, source, { part: 'archive', tables, jobs: 2, open: opened(readsAll) });
    const broken = (change: { at?: number; bytes?: number; id?: number }): Toc => ({
      ...toc,
      entries: toc.entries.map((entry) => {
        const { at = 0, bytes = 0, id = 0 } = change;
        const data = { at: (entry.data?.at ?? 0) + at, bytes: (entry.data?.bytes ?? 0) + bytes };
        return { ...entry, id: entry.id + id, data };
      }),
    });
    for (const change of [{ bytes: -1 }, { at: 1, bytes: -1 }, { id: 1 }]) {
      await assert.rejects(restore(broken(change)), { code: 'malformed' });
    }
  });

  it('of one session that fails end the others, and its reason is the one that is told', async () => {
    const { source, toc } = await archiveOf([blockOf(7, [...short, END])]);
    let ended = 0;
    let begun = 0;
    const open = opened(async (_table, _rows, _options, stoppable) => {
      if (++begun === 1) throw new Error('the first of all');
      const stopped = Promise.withResolvers<void>();
      if (stoppable.signal.aborted) stopped.resolve();
      else stoppable.signal.addEventListener('abort', () => stopped.resolve());
      await stopped.promise;
      ended += 1;
      throw new Error('stopped');
    });
    const restored = restoreRows(ctx, source, { part: 'archive', tables: toc.entries, jobs: 3, open });
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
  create function is_known(int) returns boolean language sql as 'select exists (select from public.small where id = $1)';
  create table lines (id int generated always as identity primary key, small int references small check (is_known(small)),
    t text check (is_fine(length(t))),
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

/** The same, with something that happens once in the middle of the first large table. */
function within(source: Source, event: () => Promise<unknown>): Source {
  let waiting: (() => Promise<unknown>) | undefined = event;
  return {
    ...source,
    async *get(c, name, range) {
      let bytes = 0;
      for await (const chunk of source.get(c, name, range)) {
        bytes += chunk.length;
        const now = bytes > 4 * 2 ** 20 ? waiting : undefined;
        if (now) waiting = undefined;
        await now?.();
        yield chunk;
      }
    },
  };
}

/** Who is still there after a while in which a server sees that its clients have gone. */
async function sessionsOf(server: Postgres, database: string): Promise<unknown[]> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const there = await sql(server, 'postgres', `select query from pg_stat_activity where datname = '${database}'`);
    if (there.length === 0 || Date.now() > deadline) return there;
  }
}

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

    it('leave no session behind when one is ended or all are stopped, and come back at the next restore', async () => {
      const { source } = await captureOf(ctx, settingsFor(server, { databases: ['large'] }));
      const driver = postgresqlDriver.open(settingsFor(server, { databases: ['broken'], jobs: 3 }));
      const copying = "from pg_stat_activity where datname = 'broken' and query like 'copy%'";
      const end = (): Promise<unknown> =>
        sql(server, 'postgres', `select pg_terminate_backend(pid) ${copying} limit 1`);
      await assert.rejects(driver.restore(ctx, { base: within(source, end) }), { code: 'unreachable' });
      assert.deepEqual(await sessionsOf(server, 'broken'), []);
      const stop = new AbortController();
      const stopped = { ...ctx, signal: stop.signal };
      const abort = async (): Promise<void> => stop.abort();
      await assert.rejects(driver.restore(stopped, { base: within(source, abort) }), { code: 'interrupted' });
      assert.deepEqual(await sessionsOf(server, 'broken'), []);
      await driver.restore(ctx, { base: source });
      assert.deepEqual(await differences(ctx, source, settingsFor(server, { databases: ['broken'] })), []);
    });

    it('come back by their owner, who has no privileges on them, once there are connections enough', async () => {
      const password = "keeper's own";
      const login = { ...server, user: 'keeper', password };
      await sql(server, 'postgres', `alter role keeper createdb password '${password.replace("'", "''")}'`);
      await sql(login, 'postgres', 'create database kept');
      const rows = 'insert into mine select repeat(md5(g::text), 5) from generate_series(1, 60000) g';
      await sql(login, 'kept', `create table mine (t text); ${rows}; revoke all on mine from keeper`);
      const { source } = await captureOf(ctx, settingsFor(server, { databases: ['kept'] }));
      const target = { ...settingsFor(server, { databases: ['again'] }), user: 'keeper', password };
      await sql(server, 'postgres', 'alter role keeper connection limit 2');
      const crowd = postgresqlDriver.open({ ...target, jobs: 5 }).restore(ctx, { base: source });
      await assert.rejects(crowd, { code: 'unreachable', hint: 'take fewer jobs, or allow more connections' });
      await sql(server, 'postgres', 'alter role keeper connection limit -1');
      await postgresqlDriver.open(target).restore(ctx, { base: source });
      assert.deepEqual(await differences(ctx, source, settingsFor(server, { databases: ['again'] })), []);
    });
  });
}
