// References of more values than fit into one piece of memory.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Component } from '../core/component.ts';
import { testContext } from '../core/testing.ts';
import { findingsBook } from './findings.ts';
import type { Reference } from './model.ts';
import { checkReferences } from './references.ts';
import { kvDriver, kvServer } from './testing.ts';

const reference: Reference = {
  name: 'invoices exist',
  from: { component: 'db', sql: 'select key from invoices' },
  to: { component: 'objects', in: 'keys' },
  missingMax: 0,
  orphansMax: 0,
};

test('a reference of a million values is told exactly, and they are held in little room', async () => {
  const VALUES = 2 ** 20 + 5; // more than one piece
  async function* values(): AsyncIterable<string> {
    for (let at = 0; at < VALUES; at++) yield `invoice-${at}`;
  }
  async function* names(): AsyncIterable<string> {
    yield* ['invoice-0', `invoice-${2 ** 20 - 1}`, `invoice-${VALUES - 1}`, `invoice-${VALUES}`];
  }
  const plain = kvDriver.open(kvServer());
  const db = { ...plain, values };
  const store = {
    ...plain,
    names,
    holds: async (_ctx: unknown, _in: string, all: readonly string[]) => all.map(() => true),
  };
  const book = findingsBook();
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const progress = (): void => void (most = Math.max(most, process.memoryUsage().arrayBuffers - before));
  const componentOf = (name: string): Component => (name === 'db' ? db : store);
  await checkReferences({ ...testContext(), progress }, [reference], componentOf, book);
  const details = book.sum().kept.map(({ detail }) => detail);
  assert.deepEqual(details, [`1 orphans of 4, such as invoice-${VALUES}`, `0 missing of ${VALUES}`]);
  assert.ok(most < 64 * 2 ** 20, `${most} bytes`);
});
