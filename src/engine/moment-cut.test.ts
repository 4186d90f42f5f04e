// `--until cut=`: a point is not read but made out of an earlier one and the log, and compared with what it counted.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { drillPoint } from './drill.ts';
import { evidenceMarkdown } from './evidence.ts';
import { momentOf, type Wanted } from './moment.ts';
import { proofsOf } from './proofs.ts';
import { type RestoredPoint, restorePoint } from './restore.ts';
import { DATED, made, opened } from './stores.suite.ts';
import { type KvServer, kv, kvSandboxes, kvServer } from './testing.ts';
import { change, loggedDriver, loggedServer, second, ship } from './testing-log.ts';

const HOUR_MS = 3_600_000;

/** Two points, of seconds 10 and 40, and the log; `lost`: what that lacks; `takes`: how long a capture looks. */
async function twoPoints({ lost, takes = 0 }: { readonly lost?: number; readonly takes?: number } = {}) {
  const ctx = testContext({ now: () => second(100_000) });
  const on = await opened(ctx, DATED, await made(ctx, DATED));
  const db = loggedServer(HOUR_MS);
  const open = (settings: unknown) => loggedDriver.open({ ...loggedServer(HOUR_MS), ...(settings as KvServer) });
  const driver = { ...loggedDriver, serverSpec: async () => ({}) as never, open };
  const bare = kv('db', db, { driver: loggedDriver });
  const capture: Component['capture'] = async (...asked) => {
    const { journal, ...captured } = await bare.component.capture(...asked);
    assert.ok(journal);
    return { ...captured, journal: { ...journal, from: String(Number(journal.to) - takes).padStart(6, '0') } };
  };
  const item = { ...bare, component: { ...bare.component, capture } };
  const files = kv('files', kvServer());
  const ids: string[] = [];
  for (const seconds of [10, 15, 20, 40, 55]) {
    change(db, seconds, `at ${seconds}`, 'x');
    if (seconds !== 10 && seconds !== 40) continue;
    const { point } = await backUp(ctx, { stack: 'shop', plan: 'p', components: [item, files], stores: [on] });
    ids.push(point?.id ?? '');
  }
  if (lost !== undefined)
    db.log.splice(
      db.log.findIndex((each) => each.at === lost),
      1,
    );
  await ship(ctx, on, 'db', db, [25, 60]);
  const points = await Array.fromAsync(on.store.list(ctx));
  const drill = async (wanted: Wanted, only?: string[]) => {
    const components = only ?? ['db', 'files'];
    const moment = await momentOf(ctx, { from: on, points, components, named: only !== undefined }, wanted);
    const point = points.at(-1);
    assert.ok(point);
    const all = [{ ...item, driver }, files];
    return await drillPoint(ctx, { from: on, point, moment, components: all, only, sandboxes: kvSandboxes() });
  };
  const restore = async (wanted: Wanted): Promise<RestoredPoint> => {
    db.data.clear();
    const moment = await momentOf(ctx, { from: on, points, components: ['db'], named: true }, wanted);
    const point = points.at(-1);
    assert.ok(point);
    return await restorePoint(ctx, { from: on, point, moment, components: [item] });
  };
  return { ctx, on, ids, drill, restore, [Symbol.asyncDispose]: on[Symbol.asyncDispose] };
}
function cutOf(id = ''): Wanted {
  return { cutOf: id, words: `cut=${id}` };
}

describe('a point that is made out of an earlier one and the log', () => {
  test('is compared with what it counted: equal is pass, says against what, and proves neither of the two', async () => {
    await using it = await twoPoints();
    const { evidence, proved } = await it.drill(cutOf(it.ids[1]), ['db']);
    assert.deepEqual([evidence.verdict, proved], ['pass', []]);
    const [db] = evidence.components;
    assert.deepEqual([db?.point, db?.against, db?.rpo_ms], [it.ids[0], it.ids[1], (100_000 - 40) * 1000]);
    const restored = await it.restore(cutOf(it.ids[1]));
    assert.deepEqual([restored.verdict, restored.complete, restored.proved], ['pass', true, []]);
    assert.equal((await proofsOf(it.ctx, it.on.store)).size, 0);
    assert.match(
      evidenceMarkdown(evidence),
      new RegExp(`^\\| db \\| ${it.ids[0]} \\| point ${it.ids[1]}, compared`, 'm'),
    );
  });

  test('fails where the log lacks something that was there', async () => {
    await using it = await twoPoints({ lost: 20 });
    const { evidence } = await it.drill(cutOf(it.ids[1]), ['db']);
    assert.equal(evidence.verdict, 'fail');
  });

  test('is unknown, or refused where it was named, without a log, and without an earlier point', async () => {
    await using it = await twoPoints();
    const { evidence } = await it.drill(cutOf(it.ids[1]));
    const [files] = evidence.components.filter(({ name }) => name === 'files');
    assert.equal(evidence.verdict, 'unknown');
    assert.match(files?.findings.kept[0]?.detail ?? '', /was not taken at one place of a log of files/);
    await assert.rejects(it.drill(cutOf(it.ids[1]), ['files']), { code: 'missing' });
    await using long = await twoPoints({ takes: 3 });
    await assert.rejects(long.drill(cutOf(long.ids[1]), ['db']), { message: /was not taken at one place of a log/ });
    await assert.rejects(it.drill(cutOf(it.ids[0]), ['db']), {
      code: 'missing',
      message: /no earlier point of db leads/,
    });
  });
});
