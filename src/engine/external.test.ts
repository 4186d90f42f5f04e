import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import type { Driver } from '../core/driver.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { copyPoints } from './copy.ts';
import type { ComponentOf } from './external.ts';
import type { NamedStore } from './model.ts';
import { prunePoints } from './prune.ts';
import { type KvServer, kv, kvDriver, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';
import { verifyPoints } from './verify.ts';

/** A cluster that keeps its own snapshots. */
interface Cluster extends KvServer {
  snapshots: Set<string>;
  /** Answers to no call when it is down. */
  down: boolean;
}

function cluster(): Cluster {
  return { ...kvServer({ a: '1' }), snapshots: new Set(), down: false };
}

function componentOn(server: Cluster): Component {
  const plain = kvDriver.open(server);
  const answering = (): void => {
    if (server.down) throw new Error('the cluster is down');
  };
  return {
    ...plain,
    async capture(ctx, sink, previous) {
      const made = await plain.capture(ctx, sink, previous);
      const snapshot = `snapshot-${server.snapshots.size + 1}`;
      server.snapshots.add(snapshot);
      return { ...made, method: 'snapshot', external: { snapshot } };
    },
    async *check(_ctx, external) {
      answering();
      const { snapshot } = external as { snapshot: string };
      const there = server.snapshots.has(snapshot);
      yield { check: `${snapshot} is there`, verdict: there ? 'pass' : 'fail', detail: there ? 'whole' : 'gone' };
    },
    async release(_ctx, external) {
      answering();
      server.snapshots.delete((external as { snapshot: string }).snapshot);
    },
  };
}

const driver = { ...kvDriver, kind: 'cluster', open: (settings) => componentOn(settings as Cluster) } satisfies Driver;

function configured(server: Cluster): ComponentOf {
  return async (name, kind) => (name === 'search' && kind === 'cluster' ? componentOn(server) : null);
}

async function taken(server: Cluster, stores: readonly NamedStore[], at: string): Promise<RecoveryPoint> {
  const components = [kv('search', server, { driver })];
  const request = { stack: 'shop', plan: 'nightly', components, stores, slot: new Date(at) };
  const { point } = await backUp(testContext(), request);
  assert.ok(point);
  return point;
}

const keepOne = { keep: { last: 1 }, timezone: 'UTC' };
const asked = { stack: 'shop', rulesOf: () => keepOne, apply: true, allowMany: true };

describe('data that lies outside the store', () => {
  test('is named in the manifest and checked with the point', async () => {
    const [ctx, server, on] = [testContext(), cluster(), named('a', disk())];
    await taken(server, [on], '2026-01-01T00:00:00Z');
    const [read] = await Array.fromAsync(on.store.list(ctx));
    assert.deepEqual(read?.components.search?.external, { snapshot: 'snapshot-1' });
    const componentOf = configured(server);
    assert.equal((await verifyPoints(ctx, { in: on, componentOf })).findings.verdict, 'pass');
    server.snapshots.clear();
    assert.equal((await verifyPoints(ctx, { in: on, componentOf })).findings.verdict, 'fail');
  });

  test('is unknown to a verify that can not ask for it', async () => {
    const [ctx, server, on] = [testContext(), cluster(), named('a', disk())];
    await taken(server, [on], '2026-01-01T00:00:00Z');
    assert.equal((await verifyPoints(ctx, { in: on })).findings.verdict, 'unknown');
    server.down = true;
    const { findings } = await verifyPoints(ctx, { in: on, componentOf: configured(server) });
    assert.equal(findings.verdict, 'unknown');
    assert.ok(findings.kept.some(({ detail }) => detail === 'the cluster is down'));
  });

  test('is released when its point is pruned, and only then', async () => {
    const [ctx, server, on] = [testContext(), cluster(), named('a', disk())];
    await taken(server, [on], '2026-01-01T00:00:00Z');
    await taken(server, [on], '2026-01-02T00:00:00Z');
    const request = { ...asked, in: on, componentOf: configured(server) };
    await prunePoints(ctx, { ...request, apply: false });
    assert.equal(server.snapshots.size, 2);
    const { removed, unreleased } = await prunePoints(ctx, request);
    assert.deepEqual([removed, unreleased], [['2026-01-01-000000'], []]);
    assert.deepEqual([...server.snapshots], ['snapshot-2']);
  });

  test('stays while another store holds the point', async () => {
    const [ctx, server] = [testContext(), cluster()];
    const [a, b] = [named('a', disk()), named('b', disk())];
    await taken(server, [a, b], '2026-01-01T00:00:00Z');
    await taken(server, [a, b], '2026-01-02T00:00:00Z');
    const request = { ...asked, stores: [a, b], componentOf: configured(server) };
    await prunePoints(ctx, { ...request, in: a });
    assert.equal(server.snapshots.size, 2);
    await prunePoints(ctx, { ...request, in: b });
    assert.deepEqual([...server.snapshots], ['snapshot-2']);
  });

  test('is released by the next prune when the service was down, or the run was killed in between', async () => {
    const [ctx, server, on] = [testContext(), cluster(), named('a', disk())];
    await taken(server, [on], '2026-01-01T00:00:00Z');
    await taken(server, [on], '2026-01-02T00:00:00Z');
    server.down = true;
    const request = { ...asked, in: on, componentOf: configured(server) };
    const first = await prunePoints(ctx, request);
    assert.deepEqual([first.unreleased[0]?.point, first.unreleased[0]?.component], ['2026-01-01-000000', 'search']);
    server.down = false;
    assert.deepEqual((await prunePoints(ctx, request)).unreleased, []);
    assert.deepEqual([...server.snapshots], ['snapshot-2']);
  });

  test('is kept when the point was noted and then not removed', async () => {
    const [ctx, server, on] = [testContext(), cluster(), named('a', disk())];
    await taken(server, [on], '2026-01-01T00:00:00Z');
    await taken(server, [on], '2026-01-02T00:00:00Z');
    const dying = { ...on, store: { ...on.store, remove: () => Promise.reject(new Error('killed')) } };
    const request = { ...asked, componentOf: configured(server) };
    await assert.rejects(prunePoints(ctx, { ...request, in: dying }), /killed/);
    const keepAll = () => ({ keep: { last: 9 }, timezone: 'UTC' });
    await prunePoints(ctx, { ...request, in: on, rulesOf: keepAll });
    assert.equal(server.snapshots.size, 2);
    await prunePoints(ctx, { ...request, in: on });
    assert.deepEqual([...server.snapshots], ['snapshot-2']);
  });

  test('is still named by a copy of the point', async () => {
    const [ctx, server, a, b] = [testContext(), cluster(), named('a', disk()), named('b', disk())];
    await taken(server, [a], '2026-01-01T00:00:00Z');
    const [copied] = await copyPoints(ctx, { from: a, to: b, drivers: new Map() });
    assert.deepEqual([copied?.moved, copied?.outside], [true, ['search']]);
  });
});
