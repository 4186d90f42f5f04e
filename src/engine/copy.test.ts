import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readAll } from '../core/bytes.ts';
import type { Driver } from '../core/driver.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { identityOf } from '../core/liveness.ts';
import type { PartMeta } from '../core/model.ts';
import { renditionsByName } from '../core/renditions.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { noteCopy } from './captures.ts';
import { copyPoints } from './copy.ts';
import { drillPoint } from './drill.ts';
import { listPoints } from './points.ts';
import { kv, kvDriver, kvSandboxes, kvServer } from './testing.ts';
import { damage, disk, named } from './testing-store.ts';
import { verifyPoints } from './verify.ts';

const drivers = new Map<string, Driver>([['kv', kvDriver]]);

async function filled(points = 1) {
  const [ctx, a, b, server] = [testContext(), disk(), disk(), kvServer({ a: '1', b: '2' })];
  const components = [kv('db', server), kv('cache', kvServer({ c: '3' }))];
  const ids: string[] = [];
  for (let at = 0; at < points; at++) {
    const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [named('a', a)] });
    ids.push(point?.id ?? '');
  }
  server.fault = () => {
    throw new Failure('unreachable', 'the service is gone');
  };
  return { ctx, a, b, ids, components, request: { from: named('a', a), to: named('b', b), drivers } };
}

describe('a copy', () => {
  test('has the same manifest and the same bytes, and needs no service', async () => {
    const { ctx, a, b, ids, request } = await filled(2);
    const copied = await copyPoints(ctx, request);
    assert.deepEqual(
      copied,
      ids.map((point) => ({ point, error: null, moved: true, outside: [] })),
    );
    for (const id of ids) {
      assert.deepEqual(b.points.get(id)?.point, a.points.get(id)?.point);
      assert.deepEqual(
        b.points.get(id)?.components.get('db')?.get('keys/a'),
        a.points.get(id)?.components.get('db')?.get('keys/a'),
      );
    }
    assert.equal((await verifyPoints(ctx, { in: request.to, readData: 1 })).findings.verdict, 'pass');
    const again = await copyPoints(ctx, request);
    assert.deepEqual(
      again.map(({ moved, error }) => [moved, error]),
      [
        [false, null],
        [false, null],
      ],
    );
  });

  test('of a proved point says so, and is not proved itself', async () => {
    const { ctx, ids, components, request, a } = await filled();
    const point = a.points.get(ids[0] ?? '')?.point;
    assert.ok(point);
    await drillPoint(ctx, { from: request.from, point, components, sandboxes: kvSandboxes() });
    await copyPoints(ctx, request);
    const [view] = await listPoints(ctx, request.to);
    assert.deepEqual([view?.provedAt, view?.copyOfProved, view?.proofs[0]?.source], [null, true, 'a']);
  });

  test('gives each part the plain form that its driver knows, and says which change in place', async () => {
    const { ctx, request, ids } = await filled();
    const rendition = { name: 'keys/a.txt', word: 'kv', item: null, alone: true, suffix: '.txt', gzip: true };
    const asked: unknown[] = [];
    const driver: Driver = {
      ...kvDriver,
      renditions: renditionsByName((names, version) => {
        asked.push([names.includes('keys/a'), version]);
        return new Map([['keys/a', rendition]]);
      }),
    };
    const metas: [string, PartMeta | undefined][] = [];
    const { store } = request.to;
    const spying = {
      ...store,
      begin: async (...args: Parameters<typeof store.begin>) => {
        const draft = await store.begin(...args);
        const sink: typeof draft.sink = (component) => {
          const inner = draft.sink(component);
          const put: typeof inner.put = async (putCtx, name, body, meta) => {
            metas.push([name, meta]);
            return await inner.put(putCtx, name, body, meta);
          };
          return { ...inner, put };
        };
        return { ...draft, sink };
      },
    };
    const to = { name: 'b', store: spying };
    const telling: typeof store = {
      ...request.from.store,
      async open(...args) {
        const source = await request.from.store.open(...args);
        return {
          ...source,
          async *parts(partsCtx, prefix) {
            for await (const part of source.parts(partsCtx, prefix)) {
              yield part.name === 'keys/b' ? { ...part, inPlace: true } : part;
            }
          },
        };
      },
    };
    const from = { name: 'a', store: telling };
    const done = await copyPoints(ctx, { ...request, from, to, points: ids, drivers: new Map([['kv', driver]]) });
    assert.equal(done[0]?.error, null);
    assert.deepEqual(asked, [
      [true, '1.0'],
      [false, '1.0'],
    ]);
    assert.deepEqual(metas.find(([name]) => name === 'keys/a')?.[1], { rendition });
    assert.deepEqual(metas.find(([name]) => name === 'keys/b')?.[1], { inPlace: true });
  });

  test('stops at no damaged point, and makes no point of it', async () => {
    const { ctx, a, b, ids, request } = await filled(3);
    damage(a, ids[1] ?? '', 'cache', 'keys/c', 'x');
    const copied = await copyPoints(ctx, request);
    assert.deepEqual(
      copied.map(({ moved }) => moved),
      [true, false, true],
    );
    assert.ok(isFailure(copied[1]?.error, 'checksum'));
    assert.deepEqual([...b.points.keys()], [ids[0], ids[2]]);
    assert.equal(b.drafts.size, 0);
  });

  test('replaces no other point of the same id', async () => {
    const { ctx, b, ids, components, request } = await filled();
    const [id = ''] = ids;
    const slot = new Date(`${id.slice(0, 10)}T${id.slice(11, 13)}:${id.slice(13, 15)}:${id.slice(15)}Z`);
    const others = components.filter(({ name }) => name === 'cache');
    await backUp(ctx, { stack: 'shop', plan: null, components: others, stores: [request.to], slot });
    const [copied] = await copyPoints(ctx, request);
    assert.ok(isFailure(copied?.error, 'exists'));
    assert.deepEqual(Object.keys(b.points.get(id)?.point.components ?? {}), ['cache']);
  });

  test('never takes up a draft that somebody unknown may still be writing (fault 6)', async () => {
    const { ctx, b, ids, request } = await filled();
    const [id = ''] = ids;
    const components = [{ name: 'db', kind: 'kv' }];
    await request.to.store.begin(ctx, id, { stack: 'shop', components });
    const theirs = b.drafts.get(id);
    for (let tries = 0; tries < 2; tries++) {
      const [copied] = await copyPoints(ctx, request);
      assert.ok(isFailure(copied?.error, 'exists'));
      assert.deepEqual([...b.records.keys()], [], 'a note of ours would say that the draft is ours');
    }
    assert.equal(b.drafts.get(id), theirs);
    assert.equal(theirs?.sinks.size, 0);
  });

  test('notes as its own what it begins where the draft of a run on another host is gone', async () => {
    const { ctx, b, ids, request } = await filled();
    const [id = ''] = ids;
    const here = await identityOf(process.pid);
    const run = { stack: 'shop', plan: null, components: [] };
    await noteCopy(ctx, request.to, id, run);
    const note = b.records.get(`captures/${id}`) as { process: unknown };
    note.process = here && { ...here, host: 'elsewhere' };
    const notes: unknown[] = [];
    b.fault = (step) => void (step.startsWith('commit') && notes.push(b.records.get(`captures/${id}`)));
    const [copied] = await copyPoints(ctx, request);
    assert.equal(copied?.error, null);
    assert.deepEqual((notes[0] as { process: unknown }).process, here);
    assert.equal(b.records.has(`captures/${id}`), false);
  });

  test('of a point that there is not is refused', async () => {
    const { ctx, request } = await filled();
    await assert.rejects(copyPoints(ctx, { ...request, points: ['2020-01-01-000000'] }), (error) =>
      isFailure(error, 'missing'),
    );
  });

  test('gives a point of the old scripts no list of parts that nobody saw', async () => {
    const { ctx, a, ids, request } = await filled();
    damage(a, ids[0] ?? '', 'db', 'parts.ndjson', null);
    await copyPoints(ctx, request);
    const source = await request.to.store.open(ctx, ids[0] ?? '', 'db');
    assert.deepEqual(await Array.fromAsync(source.parts(ctx), ({ name }) => name), [
      'inventory.ndjson',
      'keys/a',
      'keys/b',
    ]);
    assert.equal((await readAll(source.get(ctx, 'keys/a'))).toString(), '1');
  });
});
