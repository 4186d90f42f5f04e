import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Failure, isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from '../engine/backup.ts';
import type { NamedStore, StackComponent } from '../engine/model.ts';
import { listPoints, type Wanted } from '../engine/points.ts';
import { putProof } from '../engine/proofs.ts';
import { kv, kvServer } from '../engine/testing.ts';
import { disk, named } from '../engine/testing-store.ts';
import { chooseEverywhere, type Listing } from './across.ts';
import { verifyAll } from './commands/verify.ts';
import { filesStack } from './testing.ts';

/** Where a folder is wanted, a link is refused: the store opens, and can not be listed. */
function breakListing(store: string): Disposable {
  const [folder, aside] = [join(store, 'snapshots'), join(store, '..', 'aside')];
  renameSync(folder, aside);
  symlinkSync(aside, folder);
  return {
    [Symbol.dispose]() {
      rmSync(folder);
      renameSync(aside, folder);
    },
  };
}

describe('one store that can not be listed', () => {
  test('is named with exit 3 and the reason, and the others are read all the same', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const commands = ['list', 'show', 'status', 'verify', 'verify latest', 'restore latest --preview', 'drill'];
    for (const command of commands) {
      const [name = '', ...args] = command.split(' ');
      const told = await stack.run(name, ...args);
      assert.equal(told.exit, 3, `${command}: ${told.failure}`);
      const [hidden, ...more] = told.json.unreadable_stores as { name: string; error: { message: string } }[];
      assert.deepEqual([hidden?.name, more.length], ['one', 0], command);
      assert.match(hidden?.error.message ?? '', /snapshots/, command);
      assert.match(told.notes, /store one could not be read/, command);
    }
  });

  test('is named beside the rows that another one gives', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const rows = join(stack.dir, 'rows.ndjson');
    const { exit, json } = await stack.run('extract', '--from', 'docs', '--path', 'a.txt', '--output', rows);
    const [hidden] = json.unreadable_stores as { name: string }[];
    assert.deepEqual([exit, json.rows, hidden?.name], [3, 1, 'one']);
  });

  test('does not keep prune from the others', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const { exit, json } = await stack.run('prune');
    const stores = json.stores as { store: string; error?: object }[];
    assert.equal(exit, 3);
    assert.deepEqual(
      stores.map(({ store, error }) => [store, error !== undefined]),
      [
        ['one', true],
        ['two', false],
      ],
    );
  });

  test('does not matter for a point that was named in full', async () => {
    using stack = await filesStack();
    const { points } = (await stack.run('list')).json as { points: { id: string }[] };
    using _broken = breakListing(join(stack.dir, 'one'));
    rmSync(join(stack.dir, 'data'), { recursive: true });
    assert.equal((await stack.run('restore', points[0]?.id ?? '', '--yes')).exit, 0);
  });

  test('is the reason when the point is in no other', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const { exit, failure } = await stack.run('restore', '1999', '--preview');
    assert.match(failure, /there is no point 1999, and store one could not be read/);
    assert.equal(exit, 17);
  });
});

describe('of the points of several stores', () => {
  async function listed() {
    const ctx = testContext();
    const [local, offsite] = [named('local', disk()), named('offsite', disk())];
    const servers = [kvServer({ a: '1' }), kvServer({ c: '3' })] as const;
    const [db, cache] = [kv('db', servers[0]), kv('cache', servers[1])];
    const take = (
      slot: string,
      stores: readonly NamedStore[],
      components: readonly StackComponent[],
      stack = 'shop',
    ) => {
      for (const server of servers) server.cutAt = slot;
      return backUp(ctx, { stack, plan: 'p', components, stores, slot: new Date(slot) });
    };
    await take('2026-11-20T02:00:00Z', [local, offsite], [db, cache]);
    await take('2026-11-21T02:00:00Z', [local], [db, cache]);
    await take('2026-11-21T06:00:00Z', [offsite], [cache]);
    await putProof(ctx, offsite.store, {
      point: '2026-11-20-020000',
      how: 'drill',
      components: ['db', 'cache'],
      source: null,
    });
    const choose = async (wanted: Wanted, unreadable: Listing['unreadable'] = []) => {
      const stores = await Promise.all(
        [local, offsite].map(async (store) => ({ store, views: await listPoints(ctx, store) })),
      );
      const { store, chosen } = chooseEverywhere({ stores, unreadable }, 'shop', wanted);
      return [store.name, chosen.point.id, ...chosen.passedOver];
    };
    return { choose, take, local, offsite, db, cache };
  }

  test('the latest is the one that holds the most, not a newer one of the cache in another store', async () => {
    const { choose } = await listed();
    assert.deepEqual(await choose({ word: 'latest', components: ['db', 'cache'] }), [
      'local',
      '2026-11-21-020000',
      '2026-11-21-060000',
    ]);
    assert.deepEqual(await choose({ components: ['cache'] }), ['offsite', '2026-11-21-060000']);
  });

  test('a prefix that fits several is ambiguous, also when each store holds only one of them', async () => {
    const { choose } = await listed();
    await assert.rejects(choose({ word: '2026-11-21' }), (error) => {
      assert.ok(isFailure(error, 'ambiguous'));
      assert.match(`${error.message}, ${error.hint}`, /^2 points begin .*2026-11-21-060000, 2026-11-21-020000$/);
      return true;
    });
    assert.deepEqual(await choose({ word: '2026-11-20' }), ['local', '2026-11-20-020000'], 'one point in two stores');
  });

  test('one comes from the first store that holds it, a proved one from where it was proved', async () => {
    const { choose } = await listed();
    assert.deepEqual((await choose({ at: new Date('2026-11-20T03:00:00Z') })).slice(0, 2), [
      'local',
      '2026-11-20-020000',
    ]);
    assert.deepEqual(await choose({ word: 'latest-proved' }), ['offsite', '2026-11-20-020000']);
  });

  test('plans that wrote different ones under one id into different stores hide none of them', async () => {
    const { choose, take, local, offsite, db, cache } = await listed();
    await take('2026-11-22T02:00:00Z', [local], [cache]);
    await take('2026-11-22T02:00:00Z', [offsite], [db, cache]);
    await take('2026-11-23T02:00:00Z', [local], [db], 'other');
    await take('2026-11-23T02:00:00Z', [offsite], [db]);
    assert.deepEqual(await choose({ components: ['db', 'cache'] }), [
      'offsite',
      '2026-11-22-020000',
      '2026-11-23-020000',
    ]);
    assert.deepEqual(await choose({ word: '2026-11-23-020000' }), ['offsite', '2026-11-23-020000']);
  });

  test('verify takes the very one that restore and drill would, in each store that holds it', async () => {
    const { local, offsite } = await listed();
    const opened = { writtenBytes: () => 0, [Symbol.asyncDispose]: async () => undefined };
    const stores = [local, offsite].map((store) => ({ ...store, ...opened }));
    const verified = async (word: string) => {
      const wish = { word, components: ['db', 'cache'], readData: 0 };
      const { results } = await verifyAll(testContext(), 'shop', { stores, failed: [] }, wish);
      return results.map(({ store, verified: { points } }) => [store, points]);
    };
    assert.deepEqual(await verified('2026-11-20'), [
      ['local', 1],
      ['offsite', 1],
    ]);
    assert.deepEqual(await verified('2026-11-21-02'), [['local', 1]]);
    assert.deepEqual(await verified('latest'), [['local', 1]]);
    await assert.rejects(verified('2026-11-21'), (error) => isFailure(error, 'ambiguous'));
  });

  test('show, verify and restore call the same one the latest', async () => {
    using stack = await filesStack();
    mkdirSync(join(stack.dir, 'more'));
    const more = `  notes: { kind: files, paths: [${join(stack.dir, 'more')}] }`;
    appendFileSync(stack.file, `${more}\nplans: { small: { components: [docs], to: [one] } }\n`);
    await stack.run('backup');
    const { id } = (await stack.run('show')).json;
    assert.equal((await stack.run('backup', '--plan', 'small')).exit, 0);
    const restored = (await stack.run('restore', 'latest', '--preview')).json;
    assert.deepEqual([(await stack.run('show')).json.id, restored.point], [id, id]);
    const { stores } = (await stack.run('verify', 'latest')).json as { stores: { store: string }[] };
    assert.deepEqual(
      stores.map(({ store }) => store),
      ['one', 'two'],
    );
  });

  test('what none of them holds may lie in one that can not be read', async () => {
    const { choose } = await listed();
    const away = [{ name: 'tape', error: new Failure('unreachable', 'no route') }];
    await assert.rejects(choose({ word: '1999' }, away), (error) => isFailure(error, 'unreachable'));
    await assert.rejects(choose({ word: '2026-11-21' }, away), (error) => isFailure(error, 'ambiguous'));
  });
});
