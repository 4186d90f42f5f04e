import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultyBucket } from '../buckets/faulty.ts';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import { isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { Bucket } from '../core/storage.ts';
import { testContext } from '../core/testing.ts';
import { copyOf } from '../stores/suite/rig.suite.ts';
import { copyJournals } from './copy-journal.ts';
import { cutAt, feedNumbers, journalOf, type NumbersServer, numbersServer, textOf } from './follow-testing.ts';
import type { NamedStore } from './model.ts';
import { KINDS, type Kind, made, opened } from './stores.suite.ts';

const [plain, restic] = ['plain, dated', 'restic'].map((title) => {
  const kind = KINDS.find((each) => each.title === title);
  if (!kind) throw new Error(`there is a store that is ${title}`);
  return kind;
}) as [Kind, Kind];

async function copied(ctx: Context, from: NamedStore, to: NamedStore, ahead = false): Promise<number> {
  const [only] = await copyJournals(ctx, { from: from.store, to: to.store, components: ['db'] });
  assert.deepEqual([only?.error, only?.ahead], [null, ahead]);
  return only?.ranges ?? 0;
}
/** Three lineages, of which the last goes on from the second. */
async function filled(ctx: Context): Promise<{ disk: Bucket; server: NumbersServer }> {
  const disk = await made(ctx, plain);
  await using store = await opened(ctx, plain, disk);
  const server = numbersServer(1);
  await feedNumbers(ctx, store.store, 'db', server, 7);
  server.id = 'log-2';
  await feedNumbers(ctx, store.store, 'db', server, 6);
  await using writer = await store.store.journal('db').write(ctx);
  const parent = { lineage: '00000002', position: cutAt(14).position };
  server.id = 'log-3';
  await writer.begin(ctx, { from: cutAt(14), base: null, why: 'failover', source: { id: server.id }, parent });
  await feedNumbers(ctx, store.store, 'db', server, 6, writer);
  return { disk, server };
}

test('a copy of a journal is the same, is taken once, and goes on', async () => {
  const ctx = testContext();
  const { disk, server } = await filled(ctx);
  await using from = await opened(ctx, plain, disk);
  await using to = await opened(ctx, restic, await made(ctx, restic));
  assert.equal(await copied(ctx, from, to), 7);
  assert.deepEqual(await journalOf(ctx, to.store, 'db'), await journalOf(ctx, from.store, 'db'));
  assert.equal(await copied(ctx, from, to), 0);
  await feedNumbers(ctx, from.store, 'db', server, 4);
  assert.equal(await copied(ctx, from, to), 2);
  assert.deepEqual(await journalOf(ctx, to.store, 'db'), await journalOf(ctx, from.store, 'db'));
  const needed = [{ lineage: '00000003', position: cutAt(14).position }];
  await to.store.journal('db').prune(ctx, needed, { apply: true });
  assert.equal(await copied(ctx, from, to), 0, 'what went there does not come again');
  assert.deepEqual(await Array.fromAsync(to.store.check(ctx, { readData: 1 })), []);
});

test('killed at any change it is gone on with, and the copy is the same in the end (fault 45)', async () => {
  const { disk } = await filled(testContext());
  const empty = await made(testContext(), restic);
  let deaths = -1;
  for (let changesMax = 0, ended = false; !ended; changesMax++, deaths++) {
    const ctx = testContext();
    await using from = await opened(ctx, plain, disk);
    const there = await copyOf(ctx, empty);
    {
      await using dying = await opened(ctx, restic, faultyBucket(there, { changesMax }));
      const [one] = await copyJournals(ctx, { from: from.store, to: dying.store, components: ['db'] });
      ended = one?.error === null;
      assert.ok(ended || isFailure(one?.error, 'unreachable'), String(one?.error));
    }
    await using to = await opened(ctx, restic, there);
    await copied(ctx, from, to);
    assert.deepEqual(await journalOf(ctx, to.store, 'db'), await journalOf(ctx, from.store, 'db'), `${changesMax}`);
    assert.deepEqual(await Array.fromAsync(to.store.check(ctx, { readData: 1 })), []);
  }
  assert.ok(deaths >= 3, `only ${deaths} changes were made`);
});

test('what is damaged, or was pruned before it was copied, is a gap in the copy and holds nothing else up', async () => {
  const ctx = testContext();
  const { disk, server } = await filled(ctx);
  await using to = await opened(ctx, restic, await made(ctx, restic));
  const hurt = await copyOf(ctx, disk);
  for await (const { key } of disk.list(ctx, '0-lifeboat/journal/db/00000002/')) {
    if (key.includes(cutAt(8).position)) await hurt.put(ctx, key, Buffer.from('nonsense'));
  }
  await using from = await opened(ctx, plain, hurt);
  const needed = [1, 2].map((id) => ({ lineage: `0000000${id}`, position: cutAt(id * 4).position }));
  await from.store.journal('db').prune(ctx, needed, { apply: true });
  await copied(ctx, from, to);
  const [first, second, gap, ...rest] = await textOf(ctx, to.store, 'db');
  assert.deepEqual([first, second, rest.length], ['1 4-7: 4,5,6', '1 7-8: 7', 3]);
  assert.match(gap ?? '', /^2 8-11: .* was changed$/);
  await feedNumbers(ctx, from.store, 'db', server, 6);
  const kept = [{ lineage: '00000003', position: cutAt(24).position }];
  await from.store.journal('db').prune(ctx, kept, { apply: true });
  await copied(ctx, from, to);
  assert.deepEqual((await textOf(ctx, to.store, 'db')).slice(-2), [
    '3 20-23: it was pruned in the store that it was to be copied from',
    '3 23-26: 23,24,25',
  ]);
});

test('where the copy was written by itself meanwhile, the log goes on in another piece that leads on from it', async () => {
  const ctx = testContext();
  const server = numbersServer(0);
  await using from = await opened(ctx, plain, await made(ctx, plain));
  await using to = await opened(ctx, plain, await made(ctx, plain, memoryBucket()));
  await feedNumbers(ctx, from.store, 'db', server, 6);
  await copied(ctx, from, to);
  await feedNumbers(ctx, to.store, 'db', server, 1); // as after a change of the order of stores
  await feedNumbers(ctx, from.store, 'db', server, 4);
  await copied(ctx, from, to);
  const told = ['1 0-3: 0,1,2', '1 3-6: 3,4,5', '1 6-7: 6', '2 6-9: 6,7,8', '2 9-11: 9,10'];
  assert.deepEqual(await textOf(ctx, to.store, 'db'), told);
  const [, piece] = await Array.fromAsync(to.store.journal('db').lineages(ctx));
  assert.deepEqual(piece?.parent, { lineage: '00000001', position: cutAt(6).position });
  await feedNumbers(ctx, from.store, 'db', server, 2);
  assert.equal(await copied(ctx, from, to), 1);
  assert.deepEqual(await textOf(ctx, to.store, 'db'), [...told, '2 11-13: 11,12']);
});

test('a journal that has lineages of its own gets those of the other behind them, each leading where it did', async () => {
  const ctx = testContext();
  await using to = await opened(ctx, plain, await made(ctx, plain, memoryBucket()));
  await feedNumbers(ctx, to.store, 'db', numbersServer(100), 3);
  await using from = await opened(ctx, plain, (await filled(ctx)).disk);
  await copied(ctx, from, to);
  const lineages = await Array.fromAsync(to.store.journal('db').lineages(ctx));
  assert.deepEqual(
    lineages.map(({ id, source, parent }) => [Number(id), (source as { id: string }).id, parent?.lineage ?? null]),
    [
      [1, 'log-1', null],
      [2, 'log-1', null],
      [3, 'log-2', null],
      [4, 'log-3', '00000003'],
    ],
  );
});

test('what is copied back never comes behind a newer log: who follows would go on with it', async () => {
  const ctx = testContext();
  const { disk, server } = await filled(ctx);
  await using from = await opened(ctx, plain, disk);
  await using to = await opened(ctx, restic, await made(ctx, restic));
  await copied(ctx, from, to);
  assert.equal(await copied(ctx, to, from), 0);
  server.id = 'log-4';
  await feedNumbers(ctx, from.store, 'db', server, 3);
  const before = await journalOf(ctx, from.store, 'db');
  assert.equal(await copied(ctx, to, from, true), 0);
  assert.deepEqual(await journalOf(ctx, from.store, 'db'), before);
  assert.equal(await copied(ctx, from, to), 1);
});
