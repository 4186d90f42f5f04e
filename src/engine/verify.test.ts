import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure } from '../core/errors.ts';
import type { Context, Finding } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { digestOf, kv, kvServer } from './testing.ts';
import { damage, disk, named } from './testing-store.ts';
import { verifyPoints } from './verify.ts';

async function filled() {
  const [ctx, on] = [testContext(), disk()];
  const components = [kv('db', kvServer({ a: '1', b: '2', c: '3' })), kv('cache', kvServer({ d: '4' }))];
  const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [named('a', on)] });
  assert.ok(point);
  return { ctx, on, point, store: named('a', on) };
}
const failed = ({ kept }: { kept: readonly Finding[] }) => kept.filter(({ verdict }) => verdict === 'fail');

describe('verify', () => {
  test('passes what is whole, and says what it looked at', async () => {
    const { ctx, store, point } = await filled();
    const done = await verifyPoints(ctx, { in: store });
    assert.deepEqual([done.points, done.findings.verdict], [1, 'pass']);
    assert.match(done.findings.kept[0]?.detail ?? '', /structure only/);
    assert.ok(done.findings.kept.some(({ detail }) => detail === '4 parts, 3 inventory lines'));
    const one = await verifyPoints(ctx, { in: store, points: [point], readData: 1 });
    assert.equal(one.findings.verdict, 'pass');
  });

  test('an empty store has shown nothing', async () => {
    const done = await verifyPoints(testContext(), { in: named('a', disk()) });
    assert.equal(done.findings.verdict, 'unknown');
  });

  test("looks at the points while the store's own check runs, and tells of that one first", async () => {
    const { ctx, store } = await filled();
    const opened = Promise.withResolvers<void>();
    const slow: Store = {
      ...store.store,
      async *check() {
        await opened.promise;
        yield { check: 'the store', verdict: 'unknown', detail: 'nobody can tell' };
      },
      async open(...args) {
        opened.resolve();
        return await store.store.open(...args);
      },
    };
    const { kept, tally } = (await verifyPoints(ctx, { in: { ...store, store: slow }, readData: 1 })).findings;
    assert.deepEqual([kept[0]?.check, tally], ['the store', { pass: 2, unknown: 1, fail: 0 }]);
  });

  test('looks once at what two points have in common, if it found it whole', async () => {
    const { ctx, on, store, point } = await filled();
    const again = { ...point, id: `${point.id.slice(0, -1)}9` };
    on.points.set(again.id, { ...on.points.get(point.id), point: again, components: new Map() });
    const opened: string[] = [];
    const alike: Store = {
      ...store.store,
      async open(within, _id, name) {
        const source = await store.store.open(within, point.id, name);
        return {
          ...source,
          identity: name,
          parts(...args) {
            opened.push(name);
            return source.parts(...args);
          },
        };
      },
    };
    const verify = () => verifyPoints(ctx, { in: { ...store, store: alike }, points: [point, again] });
    const { findings } = await verify();
    assert.deepEqual([findings.verdict, findings.tally.pass, opened], ['pass', 4, ['db', 'cache']]);
    opened.length = 0;
    damage(on, point.id, 'db', 'keys/a', null);
    assert.equal(
      new Set(failed((await verify()).findings).map(({ check }) => check)).size,
      2,
      'each point has lost it',
    );
    assert.deepEqual(opened, ['db', 'cache', 'db']);
  });

  test("stops when the store's own check, or the list of its points, fails", { timeout: 30_000 }, async () => {
    const { ctx, store } = await filled();
    const gone = new Failure('unreachable', 'nobody answers');
    async function stopped({ signal }: Context): Promise<never> {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      throw signal.reason;
    }
    const fails = async (): Promise<never> => {
      throw gone;
    };
    for (const [check, list] of [
      [fails, stopped],
      [stopped, fails],
    ] as const) {
      const broken: Store = {
        ...store.store,
        async *check(within) {
          yield await check(within);
        },
        async *list(within) {
          yield await list(within);
        },
      };
      await assert.rejects(verifyPoints(ctx, { in: { ...store, store: broken } }), gone);
    }
  });

  test('lists every damage, not only the first', async () => {
    const { ctx, on, store, point } = await filled();
    damage(on, point.id, 'db', 'keys/a', null);
    damage(on, point.id, 'db', 'keys/b', 'longer than it was');
    damage(on, point.id, 'db', 'keys/c', '8');
    damage(on, point.id, 'cache', 'inventory.ndjson', '');
    const done = await verifyPoints(ctx, { in: store, points: [point], readData: 1 });
    const checks = failed(done.findings).map(({ check }) => check.replace(`${point.id}/`, ''));
    assert.deepEqual(checks.toSorted(), [
      'cache has its inventory',
      'cache/inventory.ndjson is there',
      'cache/inventory.ndjson reads as it was captured',
      'db/keys/a is there',
      'db/keys/b is there',
      'db/keys/b reads as it was captured',
      'db/keys/c reads as it was captured',
    ]);
  });

  test('finds a part that is as long as it was, and another one', async () => {
    const { ctx, on, store, point } = await filled();
    const parts = on.points.get(point.id)?.components.get('db');
    const [a, b] = [parts?.get('keys/a'), parts?.get('keys/b')];
    assert.ok(parts && a && b);
    parts.set('keys/a', b);
    const done = await verifyPoints(ctx, { in: store, points: [point] });
    const [finding, ...others] = failed(done.findings);
    assert.equal(finding?.check, `${point.id}/db is as it was captured`);
    assert.match(finding.detail, /one of the 4 parts up to keys\/c has another digest/);
    assert.deepEqual(others, []);
  });

  test('says what a missing part, or one of another length, hides', async () => {
    const { ctx, on, store, point } = await filled();
    damage(on, point.id, 'db', 'keys/a', null);
    damage(on, point.id, 'db', 'keys/b', 'longer than it was');
    damage(on, point.id, 'db', 'keys/c', '8');
    const done = await verifyPoints(ctx, { in: store, points: [point] });
    const unlike = done.findings.kept.filter(({ verdict }) => verdict !== 'pass');
    assert.deepEqual(
      unlike.map(({ check, verdict, detail }) => [check.replace(`${point.id}/`, ''), verdict, detail]),
      [
        ['db/keys/a is there', 'fail', 'it was captured and is missing'],
        ['db/keys/b is there', 'fail', '1 bytes were captured, 18 are there'],
        ['db is as it was captured', 'unknown', 'the other 2 of the 4 parts up to keys/c could not be compared'],
      ],
    );
  });

  test('leaves no listing and no reading open, whichever of the two breaks off', async () => {
    const { ctx, store, point } = await filled();
    for (const breaking of ['parts', 'list']) {
      let open = 0;
      async function* watched<T>(all: AsyncIterable<T>, change: (each: T, at: number) => T): AsyncIterable<T> {
        open += 1;
        let at = 0;
        try {
          for await (const each of all) yield change(each, at++);
        } finally {
          open -= 1;
        }
      }
      const opened: Store['open'] = async (...of) => {
        const source = await store.store.open(...of);
        return {
          ...source,
          parts: (...args) =>
            watched(source.parts(...args), (part, at) => {
              if (breaking === 'parts' && at === 1) throw new Error('no answer');
              return part;
            }),
          get: (...args) =>
            watched(source.get(...args), (chunk) =>
              breaking === 'list' ? Buffer.from(Buffer.from(chunk).toString().replace(/\n.*/, '\nno line')) : chunk,
            ),
        };
      };
      const done = await verifyPoints(ctx, {
        in: { ...store, store: { ...store.store, open: opened } },
        points: [point],
      });
      assert.notEqual(done.findings.verdict, 'pass');
      assert.equal(open, 0, breaking);
    }
  });

  test('finds a part list that ends early, whatever the manifest counts', async () => {
    const { ctx, on, store, point } = await filled();
    const parts = on.points.get(point.id)?.components.get('db');
    const list = parts?.get('parts.ndjson');
    assert.ok(parts && list);
    const lines = list.data.toString().trimEnd().split('\n');
    const short = Buffer.from(lines.slice(0, -1).join('\n'));
    parts.set('parts.ndjson', { data: short, digest: digestOf(short) });
    const done = await verifyPoints(ctx, { in: store, points: [point] });
    assert.match(failed(done.findings)[0]?.detail ?? '', /the end of its part list is missing/);
  });

  test('finds a part too many, a list too short, and lines out of order', async () => {
    const { ctx, on, store, point } = await filled();
    const parts = on.points.get(point.id)?.components.get('db');
    const a = parts?.get('keys/a');
    assert.ok(parts && a);
    parts.set('keys/zz', a);
    const extra = await verifyPoints(ctx, { in: store, points: [point] });
    assert.match(failed(extra.findings)[0]?.detail ?? '', /there and was not captured/);
    parts.delete('keys/zz');
    for (const component of Object.values(on.points.get(point.id)?.point.components ?? {})) {
      Object.assign(component.parts, { count: 9 });
    }
    const short = await verifyPoints(ctx, { in: store });
    assert.match(failed(short.findings)[0]?.detail ?? '', /the manifest counts 9, the list 4/);
  });

  test('a component that is gone from the store fails; one whose capture failed was never promised', async () => {
    const { ctx, on, store, point } = await filled();
    on.points.get(point.id)?.components.delete('db');
    const done = await verifyPoints(ctx, { in: store });
    assert.equal(failed(done.findings).length, 1);
    const { cache } = point.components;
    assert.ok(cache);
    const error = { code: 'unreachable', message: 'no answer' };
    const partial = { ...point, components: { cache, db: { ...cache, error } } };
    assert.equal((await verifyPoints(ctx, { in: store, points: [partial] })).findings.verdict, 'pass');
  });

  test('a point that is pruned meanwhile is no damage', async () => {
    const { ctx, on, store, point } = await filled();
    on.fault = (step) => void (step.startsWith('open') && on.points.delete(point.id));
    const done = await verifyPoints(ctx, { in: store });
    assert.equal(failed(done.findings).length, 0);
  });

  test('a point of the old scripts, without lists, is unknown', async () => {
    const { ctx, on, store, point } = await filled();
    for (const name of ['db', 'cache']) {
      for (const part of ['parts.ndjson', 'inventory.ndjson']) damage(on, point.id, name, part, null);
    }
    const components = Object.fromEntries(
      Object.entries(point.components).map(([name, each]) => [name, { ...each, inventoryLevel: null }]),
    );
    const done = await verifyPoints(ctx, { in: store, points: [{ ...point, components }] });
    assert.equal(done.findings.verdict, 'unknown');
  });
});

describe('reading a share of the data', () => {
  test('goes on where the last run stopped, until all of it has been read', async () => {
    const { ctx, store } = await filled();
    const turns: unknown[] = [];
    const spied = {
      ...store,
      store: {
        ...store.store,
        check: (_ctx: unknown, options: unknown) => {
          turns.push(options);
          return store.store.check(ctx, { readData: 1 });
        },
      },
    };
    const sums: unknown[] = [];
    for (let run = 0; run < 4; run++) {
      const { coverage } = await verifyPoints(ctx, { in: spied, readData: 0.3 });
      sums.push([coverage?.turn.from, coverage?.sharesRead, coverage?.allReadSince !== null, coverage?.runsForAll]);
    }
    assert.deepEqual(
      turns,
      [0, 30, 60, 90].map((from) => ({ readData: 0.3, from })),
    );
    assert.deepEqual(sums, [
      [0, 30, false, 4],
      [30, 60, false, 4],
      [60, 90, false, 4],
      [90, 100, true, 4],
    ]);
    const all = await verifyPoints(ctx, { in: spied, readData: 1 });
    assert.equal(all.coverage?.runsForAll, 1);
  });

  test('goes on past what is archived, which does not count as read', async () => {
    const { ctx, store } = await filled();
    let archived = true;
    const turns: unknown[] = [];
    const spied = {
      ...store,
      store: {
        ...store.store,
        async *check(_ctx: unknown, options: unknown): AsyncIterable<Finding> {
          turns.push(options);
          if (archived) yield { check: 'pack 1 can be read', verdict: 'unknown', detail: 'it is archived' };
        },
      },
    };
    const run = async () => (await verifyPoints(ctx, { in: spied, readData: 0.5 })).coverage;
    const sums = [await run()];
    archived = false;
    sums.push(await run(), await run());
    assert.deepEqual(
      turns,
      [0, 50, 0].map((from) => ({ readData: 0.5, from })),
    );
    assert.deepEqual(
      sums.map((each) => each?.sharesRead),
      [undefined, 50, 100],
    );
  });

  test('begins anew when the record of it can not be read', async () => {
    const { ctx, store } = await filled();
    await store.store.records.put(ctx, 'coverage', 'read-data', { next: 1e9 });
    const { coverage } = await verifyPoints(ctx, { in: store, readData: 0.5 });
    assert.deepEqual(coverage?.turn, { from: 0, shares: 50 });
  });
});
