import assert from 'node:assert/strict';
import { it } from 'node:test';
import { inventoryFrom } from '../../core/inventory.ts';
import type { InventoryLine, Json } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { compareInventories } from './compare.ts';
import { withoutCasts } from './definitions.ts';

const locale = { provider: 'libc', collate: 'C', ctype: 'C', locale: null, rules: null };

function line(kind: string, name: string, more: Partial<InventoryLine> = {}): InventoryLine {
  return { kind, name, count: null, digest: 'x', ...more };
}
function database(name: string, more: { [key: string]: Json } = {}): InventoryLine {
  return line('database', name, {
    count: 1,
    detail: { tables: 1, rows: 1, encoding: 'UTF8', locale, major: 16, ...more },
  });
}
function sequence(last: number | string, called = true, increment = 1): InventoryLine {
  return line('sequence', 'shop.s', { digest: null, detail: { last: `${last}`, called, increment: `${increment}` } });
}
async function verdicts(expected: InventoryLine[], actual: InventoryLine[]): Promise<string[]> {
  const both = [inventoryFrom(expected), inventoryFrom(actual)] as const;
  const found = await Array.fromAsync(compareInventories(testContext(), ...both));
  return found.map(({ check, verdict }) => `${verdict}: ${check}`);
}

it('a sequence may be ahead of what was read before the dump, and never behind', async () => {
  const CASES: readonly [InventoryLine, InventoryLine, string][] = [
    [sequence(5), sequence(5), 'pass'],
    [sequence(5), sequence(9), 'pass'],
    [sequence(5), sequence(4), 'fail'],
    [sequence(5), sequence(5, false), 'fail'],
    [sequence(1, false), sequence(1, false), 'pass'],
    [sequence(1, false), sequence(1, true), 'pass'],
    [sequence(100, false), sequence(1, false), 'fail'],
    [sequence(-5, true, -1), sequence(-9, true, -1), 'pass'],
    [sequence(-5, true, -1), sequence(-4, true, -1), 'fail'],
    [sequence('9007199254740993'), sequence('9007199254740992'), 'fail'],
  ];
  for (const [expected, actual, verdict] of CASES) {
    assert.deepEqual(await verdicts([expected], [actual]), [`${verdict}: sequence shop.s is not behind`]);
  }
  assert.deepEqual(await verdicts([sequence(1)], []), ['fail: sequence shop.s is the same']);
});

it('one database is compared under whatever name it came back', async () => {
  const point = [database('shop'), line('table', 'shop.public.t', { count: 1 }), line('definition', 'shop: table t')];
  const live = [
    database('"A copy"'),
    line('table', '"A copy".public.t', { count: 1 }),
    line('definition', '"A copy": table t'),
  ];
  const equal = [
    'pass: database shop is the same',
    'pass: table shop.public.t is the same',
    'pass: definitions are the same',
  ];
  assert.deepEqual((await verdicts(point, live)).toSorted(), equal.toSorted());
  const found = await verdicts(point, [...live, database('b')]);
  assert.ok(found.includes('fail: database shop is the same'), 'with two, it can not be told which one is meant');
});

it('another encoding or locale is unknown, a missing table a failure', async () => {
  const CASES: readonly [{ [key: string]: Json }, string][] = [
    [{}, 'pass'],
    [{ encoding: 'LATIN1' }, 'unknown'],
    [{ locale: { ...locale, collate: 'de_DE' } }, 'unknown'],
    [{ tables: 2 }, 'fail'],
  ];
  for (const [detail, verdict] of CASES) {
    assert.deepEqual(await verdicts([database('shop')], [database('shop', detail)]), [
      `${verdict}: database shop is the same`,
    ]);
  }
});

it('a role that is missing fails, one that differs is unknown, one more is no matter', async () => {
  const role = (name: string, digest: string) => line('role', name, { digest });
  assert.deepEqual(await verdicts([role('a', '1'), role('b', '1')], [role('a', '2'), role('z', '1')]), [
    'unknown: role a is the same',
    'fail: role b is the same',
  ]);
});

it('the role that a server is run by is another one elsewhere, and is never changed', async () => {
  const actual = line('role', 'postgres', { digest: '2', detail: { own: true } });
  assert.deepEqual(await verdicts([line('role', 'postgres', { digest: '1' })], [actual]), [
    'pass: role postgres is the same',
  ]);
});

it('of a role that changed during the capture nothing is known, whether it came back or not', async () => {
  const role = (name: string, digest: string | null) => line('role', name, { digest });
  assert.deepEqual(await verdicts([role('a', null), role('b', null)], [role('a', '1')]), [
    'unknown: role a is the same',
    'unknown: role b is the same',
  ]);
});

it('what majors render in different ways is unknown, what is missing a failure', async () => {
  const definition = (name: string, digest: string) => line('definition', `shop: ${name}`, { digest });
  const point = [database('shop'), definition('view a', '1'), definition('view b', '1'), definition('view c', '1')];
  const live = (major: number) => [database('shop', { major }), definition('view a', '2'), definition('view b', '1')];
  const changed = (verdict: string) => [
    'pass: database shop is the same',
    `${verdict}: shop: view a is the same`,
    'fail: shop: view c is the same',
    'pass: definitions are the same',
  ];
  assert.deepEqual(await verdicts(point, live(16)), changed('fail'));
  assert.deepEqual(await verdicts(point, live(18)), changed('unknown'));
});

it('a sample that is equal is unknown, one that differs a failure', async () => {
  const table = (sampled: string) => line('table', 'shop.public.t', { count: 9, digest: null, detail: { sampled } });
  assert.deepEqual(await verdicts([table('1')], [table('1')]), ['unknown: table shop.public.t is the same']);
  assert.deepEqual(await verdicts([table('1')], [table('2')]), ['fail: table shop.public.t is the same']);
});

it('digests of servers that hash in different ways are unknown, another number of rows a failure all the same', async () => {
  const table = (digest: string, count = 9) => line('table', 'shop.public.t', { count, digest });
  const objects = (digest: string, count = 9) => line('large-objects', 'shop', { count, digest });
  const sampled = (digest: string) =>
    line('table', 'shop.public.t', { count: 9, digest: null, detail: { sampled: digest } });
  const CASES: readonly [InventoryLine, InventoryLine, string][] = [
    [table('hash64-a:1'), table('hash64-a:1'), 'pass'],
    [table('hash64-a:1'), table('hash64-a:2'), 'fail'],
    [table('hash64-a:1'), table('hash64-b:1'), 'unknown'],
    [table('hash64-a:1'), table('hash64-b:1', 8), 'fail'],
    [objects('hash64-a:1'), objects('hash64-a:2'), 'fail'],
    [objects('hash64-a:1'), objects('hash64-b:1'), 'unknown'],
    [sampled('hash64-a:1'), sampled('hash64-a:2'), 'fail'],
    [sampled('hash64-a:1'), sampled('hash64-b:2'), 'unknown'],
  ];
  for (const [expected, actual, verdict] of CASES) {
    const [found] = await verdicts([expected], [actual]);
    assert.equal(found?.split(':')[0], verdict, `${JSON.stringify(expected)} and ${JSON.stringify(actual)}`);
  }
});

it('two ways to write one expression are one', () => {
  const PAIRS: readonly [string, string][] = [
    [
      `CHECK (((a)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[])))`,
      `CHECK (((a)::text = ANY (ARRAY[('x'::character varying)::text, ('y'::character varying)::text])))`,
    ],
    [`'1'::numeric(10,2)`, `'1'`],
    [`'2024-01-01'::timestamp(3) without time zone`, `'2024-01-01'`],
    [`x::"Odd Type"[] + y::public.mood`, 'x + y'],
  ];
  for (const [a, b] of PAIRS) assert.equal(withoutCasts(a), withoutCasts(b));
  assert.notEqual(withoutCasts('a > 1'), withoutCasts('a > 2'));
});

it('a superuser is as good an owner as another, and no other role is', async () => {
  const owned = (digest: string, anySuperuser?: string): InventoryLine =>
    line('ownership', 'shop: table t', {
      digest,
      ...(anySuperuser === undefined ? {} : { detail: { any_superuser: anySuperuser } }),
    });
  const pass = ['pass: definitions are the same'];
  const fail = ['fail: owner and privileges of shop: table t is the same'];
  assert.deepEqual(await verdicts([owned('postgres', 'one')], [owned('lifeboat', 'one')]), pass);
  assert.deepEqual(await verdicts([owned('postgres', 'one')], [owned('postgres')]), pass);
  assert.deepEqual(await verdicts([owned('postgres', 'one')], [owned('lifeboat', 'another')]), fail);
  assert.deepEqual(await verdicts([owned('app')], [owned('eve')]), fail);
});
