import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import type { Driver } from '../core/driver.ts';
import type { Finding } from '../core/model.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { drillPoint } from './drill.ts';
import { findingsBook } from './findings.ts';
import type { Reference, StackComponent } from './model.ts';
import { checkReferences } from './references.ts';
import { restorePoint } from './restore.ts';
import { type KvServer, kv, kvDriver, kvSandboxes, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

/** A service whose values are asked for, and whose keys are names: its one space is called 'keys'. */
const linkedDriver = {
  ...kvDriver,
  kind: 'linked-kv',
  open: (settings) => linkedComponent(settings as KvServer),
} satisfies Driver;

function linkedComponent(server: KvServer): Component {
  return {
    ...kvDriver.open(server),
    async *values() {
      yield* server.data.values();
    },
    async *names() {
      yield* server.data.keys();
    },
    holds: async (_ctx, _space, names) => names.map((name) => server.data.has(name)),
  };
}

const reference: Reference = {
  name: 'invoices exist',
  from: { component: 'db', sql: 'select key from invoices' },
  to: { component: 'objects', in: 'keys' },
  missingMax: 0,
};

async function found(
  rows: readonly string[],
  objects: readonly string[],
  more: Partial<Reference> = {},
): Promise<readonly Finding[]> {
  const db = linkedComponent(kvServer(Object.fromEntries(rows.map((value, at) => [`row${at}`, value]))));
  const store = linkedComponent(kvServer(Object.fromEntries(objects.map((key) => [key, '']))));
  const book = findingsBook();
  const componentOf = (name: string): Component => (name === 'db' ? db : store);
  await checkReferences(testContext(), [{ ...reference, ...more }], componentOf, book);
  return book.sum().kept;
}

describe('a reference', () => {
  test('holds when every value is a name there', async () => {
    const many = Array.from({ length: 2_500 }, (_, at) => `invoice-${at}`);
    const [finding, ...others] = await found(many, many);
    assert.deepEqual([finding?.verdict, finding?.detail, others.length], ['pass', '0 missing of 2500', 0]);
    assert.match(finding?.check ?? '', /invoices exist: db points to objects keys/);
  });

  test('fails with what is missing, unless that is within its bound', async () => {
    const [finding] = await found(['a', 'b', 'c'], ['a']);
    assert.deepEqual([finding?.verdict, finding?.detail], ['fail', '2 missing of 3, such as b, c']);
    const [allowed] = await found(['a', 'b', 'c'], ['a'], { missingMax: 2 });
    assert.deepEqual([allowed?.verdict, allowed?.detail], ['pass', '2 missing of 3, 2 allowed, such as b, c']);
  });

  test('counts what nothing points to when that is bounded', async () => {
    const findings = await found(['a', 'a'], ['a', 'x', 'y'], { orphansMax: 1 });
    const orphans = findings.find(({ check }) => check.endsWith('nothing points to'));
    assert.deepEqual([orphans?.verdict, orphans?.detail], ['fail', '2 orphans of 3, 1 allowed, such as x, y']);
    const none = await found([], ['x'], { orphansMax: 1 });
    assert.deepEqual(
      none.map(({ verdict }) => verdict),
      ['pass', 'pass'],
    );
  });

  test('is unknown where a component can not be asked, or does not answer', async () => {
    const book = findingsBook();
    await checkReferences(testContext(), [reference], () => kvDriver.open(kvServer()), book);
    assert.match(book.sum().kept[0]?.detail ?? '', /db is of a kind that can not be asked/);
    const broken: Component = {
      ...linkedComponent(kvServer({ a: '1' })),
      holds: () => Promise.reject(new Error('no bucket')),
    };
    await checkReferences(testContext(), [reference], () => broken, book);
    assert.deepEqual(book.sum().tally, { pass: 0, unknown: 2, fail: 0 });
  });
});

describe('a stack whose components refer to one another', () => {
  interface Shop {
    readonly db: KvServer;
    readonly objects: KvServer;
    readonly components: readonly StackComponent[];
  }
  function shop(rows: Record<string, string>, objects: Record<string, string>): Shop {
    const [db, store] = [kvServer(rows), kvServer(objects)];
    const components = [kv('db', db, { driver: linkedDriver }), kv('objects', store, { driver: linkedDriver })];
    return { db, objects: store, components };
  }

  test('is looked at after a restore, and a dangling value fails it', async () => {
    const [ctx, on] = [testContext(), named('a', disk())];
    const { db, objects, components } = shop({ one: 'i1', two: 'i2' }, { i1: 'x' });
    const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [on] });
    assert.ok(point);
    const references = [reference];
    db.data.clear();
    objects.data.clear();
    const done = await restorePoint(ctx, { from: on, point, components, references });
    assert.deepEqual([done.verdict, done.references.verdict, done.complete], ['fail', 'fail', false]);
    assert.deepEqual(done.proved, ['db', 'objects'], 'the points themselves are as they were captured');
    objects.data.clear();
    const only = await restorePoint(ctx, { from: on, point, components, references, only: ['objects'] });
    assert.deepEqual([only.verdict, only.references.kept], ['pass', []]);
  });

  test('is captured in the order of its references where a plan says so', async () => {
    const [ctx, on] = [testContext(), named('a', disk())];
    const { db, objects, components } = shop({ one: 'i1' }, {});
    let [running, most] = [0, 0];
    db.fault = async (step) => {
      if (step !== 'capture') return;
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 20));
      objects.data.set('i1', 'written while the database was captured');
      running -= 1;
    };
    objects.fault = (step) => {
      if (step === 'capture') most = Math.max(most, running + 1);
    };
    const after = new Map([['objects', ['db']]]);
    const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [on], after });
    assert.deepEqual([point?.components.objects?.totals.keys, most], [1, 1]);
  });

  test('is looked at in a drill while all its sandboxes stand, which then go', async () => {
    const [ctx, on] = [testContext(), named('a', disk())];
    const { components } = shop({ one: 'i1' }, { i1: 'x', i2: 'y' });
    const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [on] });
    assert.ok(point);
    const sandboxes = kvSandboxes();
    const references = [{ ...reference, orphansMax: 0 }];
    const { evidence } = await drillPoint(ctx, { from: on, point, components, sandboxes, references });
    assert.equal(evidence.verdict, 'fail');
    assert.deepEqual(evidence.references.tally, { pass: 1, unknown: 0, fail: 1 });
    assert.deepEqual([sandboxes.started, sandboxes.running], [2, 0]);
    const { db } = point.components;
    assert.ok(db);
    const half = { from: on, point: { ...point, components: { db } }, components, sandboxes, references };
    const unasked = await drillPoint(ctx, { ...half, expected: ['db'] });
    const told = unasked.evidence.references.kept.map(({ verdict, detail }) => [verdict, detail]);
    assert.deepEqual([unasked.evidence.verdict, told], ['unknown', [['unknown', 'objects did not come back']]]);
    assert.equal((await drillPoint(ctx, { ...half, only: ['db'] })).evidence.verdict, 'pass', 'left out by choice');
  });
});
