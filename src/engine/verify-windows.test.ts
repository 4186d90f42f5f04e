import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAll } from '../core/bytes.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { KINDS, made, opened } from './stores.suite.ts';
import { kv } from './testing.ts';
import { change, loggedDriver, loggedServer, ship } from './testing-log.ts';
import { verifyPoints } from './verify.ts';

for (const kind of KINDS) {
  test(`verify of a ${kind.title} store proves that windows have no gap, as far as it has read`, async () => {
    const ctx = testContext();
    const bucket = await made(ctx, kind);
    await using on = await opened(ctx, kind, bucket);
    const server = loggedServer();
    const point = async (at: number): Promise<void> => {
      change(server, at, 'a', String(at));
      const components = [kv('db', server, { driver: loggedDriver })];
      await backUp(ctx, { stack: 'shop', plan: 'p', components, stores: [on] });
    };
    await point(10);
    await ship(ctx, on, 'db', server, [30, 40, 60]);
    const verify = async (readData?: number) => {
      const { windows, findings } = await verifyPoints(ctx, { in: on, readData });
      return [findings.verdict, ...windows.map(({ verdict, check, detail }) => `${verdict}: ${check}: ${detail}`)];
    };
    const gaps = async () =>
      (await verifyPoints(ctx, { in: on })).gaps.map(({ check, detail }) => `${check}: ${detail}`);
    const [from, to] = ['2026-01-01T00:00:10.000Z', '2026-01-01T00:01:00.000Z'];
    const whole = `db can be brought to any moment from ${from} to ${to}: 3 ranges without a gap`;
    assert.deepEqual(await verify(), ['pass', `pass: ${whole}, by their names`]);
    assert.deepEqual(await verify(1), ['pass', `pass: ${whole}, each read and proved`]);

    await ship(ctx, on, 'db', server, [-70, 90]);
    assert.deepEqual([(await verify())[0], await gaps()], ['fail', []], 'what came last can not be recovered');
    await point(80);
    const [verdict, ...windows] = await verify();
    assert.equal(verdict, 'pass', 'what lies in the gap is known, and a newer point leads past it');
    assert.match(
      (await gaps()).join(),
      /^db can be recovered although .*: a gap, from .*00:01:00.*; newer points lead/,
    );
    assert.deepEqual(
      windows.map((each) => each.replace(/:.*: /, ': ')),
      ['pass: 3 ranges without a gap, by their names', 'pass: 1 range without a gap, by their names'],
    );

    const keys = await Array.fromAsync(bucket.list(ctx, ''), ({ key }) => key);
    const range = keys.find((key) => /journal\/db\/.*\/000030-000040-/.test(key));
    assert.ok(range);
    const whole30 = await readAll(bucket.get(ctx, range));
    await bucket.put(ctx, range, Buffer.from('no range'));
    const read = await verify(1);
    assert.deepEqual(
      read.slice(1).map((each) => each.slice(0, 8)),
      ['unknown:', 'unknown:'],
    );

    // Nobody follows any more: the next point is newer than all that was logged.
    await bucket.put(ctx, range, whole30);
    await ship(ctx, on, 'db', server, [-100]);
    assert.equal((await verify())[0], 'fail');
    await point(120);
    assert.equal((await verify())[0], 'pass');
  });
}
