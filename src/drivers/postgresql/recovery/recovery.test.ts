// Real servers whose log is kept, restored to moments of their past.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import {
  type Postgres,
  type PostgresMajor,
  startPostgres,
  startPostgresOn,
} from '../../../../test/servers/postgres.ts';
import type { Replay, ReplayTarget } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Journal, JournalWriter } from '../../../core/journal.ts';
import type { Capture, JournalPoint, Source } from '../../../core/model.ts';
import { liveContext } from '../../../core/testing.ts';
import { replayOf } from '../../../engine/replay.ts';
import { processSandboxes } from '../../../sandboxes/process/runner.ts';
import { postgresqlDriver } from '../driver.ts';
import { fillWithTablespaces, physicalOf, type TestDirs, testDirs } from '../physical/testing.ts';
import { captureOf, sql } from '../testing.ts';
import { placeOfLsn, positionAt } from '../wal/positions.ts';
import {
  dumpOf,
  emptyJournal,
  KEEPING,
  type Recovering,
  recovered,
  restoredTo,
  shipping,
  standing,
} from './testing.ts';

const ROUNDS = 8;
const ROWS = 30_000;
/** In the second segment after the base backup. */
const DAMAGED_AT = 5 * 2 ** 24;

interface Moment {
  readonly n: number;
  readonly at: string;
  readonly lsn: string;
}

for (const major of [15, 18] as const) {
  const skip = await missing(`postgres-${major}`);
  describe(`recovery of PostgreSQL ${major} to a moment`, { skip }, () => {
    const ctx = liveContext();
    const moments: Moment[] = [];
    let dirs: TestDirs;
    let server: Postgres;
    let journal: Journal;
    let writer: JournalWriter;
    let source: Source;
    let capture: Capture;
    let point: JournalPoint;
    let lineage: string;
    let dump: string;
    let transaction: string;

    const replay = async (target: ReplayTarget): Promise<Replay> =>
      await replayOf(ctx, journal, point, target, capture.cut);
    const with_ = (of: Replay): Recovering => ({ source, replay: of, major, dirs, bin: server.bin });
    const last = async (on: Postgres): Promise<unknown> =>
      (await sql(on, 'shop', 'select max(n) as n, count(*)::int as rows from moments join bulk using (n)'))[0];
    const as = ({ n }: Moment): unknown => ({ n, rows: n * ROWS });

    before(async () => {
      dirs = testDirs();
      server = await startPostgres(major, { conf: { ...KEEPING, full_page_writes: 'on' } });
      await fillWithTablespaces(server, dirs);
      journal = await emptyJournal(ctx);
      writer = await journal.write(ctx);
      const ships = await shipping(ctx, writer, server);
      lineage = ships.lineage;
      ({ source, capture } = await captureOf(ctx, physicalOf(server), undefined, ''));
      assert.ok(capture.journal);
      point = capture.journal;
      await sql(server, 'shop', 'create table moments (n int)', 'create table bulk (n int, t text) tablespace fast');
      for (let n = 1; n <= ROUNDS; n++) {
        const bulk = `insert into bulk select ${n}, md5(g::text) from generate_series(1, ${ROWS}) g`;
        await sql(server, 'shop', `begin; insert into moments values (${n}); ${bulk}; commit`);
        moments.push({ n, ...(await standing(server)) });
        if (n === 2) dump = await dumpOf(server, 'shop');
        if (n === 3) await sql(server, 'shop', "select pg_create_restore_point('before the fourth')");
        if (n === 4)
          transaction = (
            (await sql(server, 'shop', 'select xmin::text as x from moments where n = 4'))[0] as { x: string }
          ).x;
        if (n % 2 === 0) await ships.ship();
      }
      await sql(server, 'shop', 'begin; insert into moments values (99); rollback');
      await ships.ship();
    });
    after(async () => {
      await writer?.[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
      dirs?.[Symbol.dispose]();
    });

    test('any moment comes back as it was then, and so does a place in the log', async () => {
      const picked = [1, 5].map((at) => moments[at]).filter((moment) => moment !== undefined);
      for (const moment of picked) {
        for (const target of [
          { kind: 'time', at: moment.at },
          { kind: 'position', value: moment.lsn },
        ] as const) {
          const of = await replay(target);
          await using back = await recovered(ctx, with_(of));
          assert.deepEqual(await last(back.server), as(moment), `${target.kind} ${JSON.stringify(moment)}`);
          const { reached } = back.restored;
          assert.ok(reached && reached.at <= moment.at, 'its last commit is told');
          if (moment.n === 2) assert.equal(await dumpOf(back.server, 'shop'), dump);
          assert.ok(!existsSync(join(back.dir, 'pg_wal/lifeboat')), 'nothing of the recovery is left');
        }
      }
    });

    test('a named point, a transaction and the end of the base backup are targets, too', async () => {
      const wanted: [ReplayTarget, number | null][] = [
        [{ kind: 'name', value: 'before the fourth' }, 3],
        [{ kind: 'transaction', value: transaction }, 4],
        [{ kind: 'immediate' }, null],
      ];
      for (const [target, n] of wanted) {
        await using back = await recovered(ctx, with_(await replay(target)));
        const { there } = (await sql(back.server, 'shop', "select to_regclass('moments') is not null as there"))[0] as {
          there: boolean;
        };
        assert.equal(there, n !== null, target.kind);
        if (n !== null) assert.deepEqual(await last(back.server), { n, rows: n * ROWS });
      }
    });

    test('fault 31: the last segment is restored as far as it was stored, in a sandbox, too', async () => {
      const boxes = processSandboxes({ parent: dirs.open('boxes') });
      const { serverVersion, method } = capture;
      await using box = await boxes.start(ctx, postgresqlDriver, serverVersion, physicalOf(server), method);
      const restored = await box.component.restore(ctx, { base: source, replay: await replay({ kind: 'latest' }) });
      const served = await box.serve?.(ctx);
      assert.equal(await served?.measure?.(ctx, 'select max(n) from moments', 'shop'), ROUNDS);
      assert.equal(await served?.measure?.(ctx, 'select count(*) from bulk', 'shop'), ROUNDS * ROWS);
      await restored.settle?.(ctx);
    });

    test('fault 27: a moment after which nothing ended goes to the end, and one that is not there is refused', async () => {
      const { end } = await replay({ kind: 'latest' });
      const idle = await replay({ kind: 'time', at: end.at });
      await using back = await recovered(ctx, with_(idle));
      assert.deepEqual(await last(back.server), { n: ROUNDS, rows: ROUNDS * ROWS });
      assert.match(back.restored.warnings.join(), /no transaction has ended after .* the last one was at 20/);
      const refused = async (target: ReplayTarget): Promise<unknown> =>
        await restoredTo(ctx, with_(await replay(target)));
      await assert.rejects(refused({ kind: 'time', at: '2099-01-01T00:00:00Z' }), {
        code: 'missing',
        message: /latest/,
      });
      await assert.rejects(refused({ kind: 'time', at: '2020-01-01T00:00:00+02:00' }), { code: 'missing' });
      await assert.rejects(refused({ kind: 'position', value: 'FF/0' }), {
        code: 'missing',
        message: /behind the end/,
      });
      await assert.rejects(refused({ kind: 'position', value: '0/1' }), { code: 'missing', hint: /from 0\// });
      await assert.rejects(refused({ kind: 'position', value: 'here' }), { code: 'usage' });
    });

    /** The first calls are those that plan the restore. */
    const disturbed = (of: Replay, disturb: (at: string) => void): Replay => {
      let calls = 0;
      return {
        ...of,
        async *ranges(c, from) {
          const isPlanned = ++calls > 3;
          for await (const range of of.ranges(c, from)) {
            if (isPlanned) disturb(range.to.position);
            yield range;
          }
        },
      };
    };

    test('a range that is damaged stops the server, which never takes it for the end', async () => {
      const damaged = disturbed(await replay({ kind: 'latest' }), (at) => {
        if (at > positionAt(DAMAGED_AT)) throw new Failure('checksum', 'a pack is damaged');
      });
      const { restored, dir } = await restoredTo(ctx, with_(damaged));
      await assert.rejects(served(major, dir), /a pack is damaged[\s\S]*exit code 255/);
      await restored.settle?.(ctx);
      await assert.rejects(served(major, dir), /a pack is damaged/, 'and it stays so');
    });

    test('a store that is away for a while is waited for', async () => {
      let left = 2;
      const away = disturbed(await replay({ kind: 'latest' }), () => {
        if (left-- > 0) throw new Failure('unreachable', 'the store is away');
      });
      await using back = await recovered(ctx, with_(away));
      assert.deepEqual(await last(back.server), { n: ROUNDS, rows: ROUNDS * ROWS });
      assert.ok(left < 0);
    });

    test('fault 26: the log is gone through where a promotion has parted it, and no timeline is used twice', async () => {
      const third = moments[2];
      assert.ok(third);
      await using promoted = await recovered(ctx, with_(await replay({ kind: 'position', value: third.lsn })));
      const history = readFileSync(join(promoted.dir, 'pg_wal/00000002.history'), 'utf8');
      const [, switched = ''] = /^1\t(\S+)\t/m.exec(history) ?? [];
      const from = placeOfLsn(switched) ?? 0;
      const parent = { lineage, position: positionAt(from) };
      const ships = await shipping(ctx, writer, promoted.server, { timeline: 2, from, parent });
      await sql(promoted.server, 'shop', `insert into moments values (50)`, `insert into bulk values (50, 'new')`);
      const { at } = await standing(promoted.server);
      await sql(promoted.server, 'shop', 'delete from moments');
      await ships.ship();
      for (const [target, rows, n] of [
        [{ kind: 'time', at }, 3 * ROWS + 1, 50],
        [{ kind: 'latest' }, 0, null],
        [{ kind: 'time', at: moments[4]?.at ?? '' }, 5 * ROWS, 5],
      ] as const) {
        await using back = await recovered(ctx, with_(await replay(target)));
        assert.deepEqual(await last(back.server), { n, rows });
        const control = 'select timeline_id as timeline from pg_control_checkpoint()';
        await sql(back.server, 'shop', 'checkpoint');
        assert.deepEqual(await sql(back.server, 'shop', control), [{ timeline: 3 }]);
      }
    });
  });
}

/** Throws what a server said that did not come up. */
async function served(major: PostgresMajor, dir: string): Promise<void> {
  await using server = await startPostgresOn(major, dir);
  for (;;) {
    const rows = await sql(server, 'postgres', 'select pg_is_in_recovery() as is').catch(() => {
      throw new Error(server.output());
    });
    assert.deepEqual(rows, [{ is: true }], 'it takes no writes');
  }
}
