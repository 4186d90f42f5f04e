import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { excluder, selector } from './glob.ts';
import { assertName, baseOf, decode, encode, isBeneath, parentOf, partOf, segmentsOf } from './names.ts';

test('every name comes back as it was, and no two become one', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ min: 1, max: 255, minLength: 1, maxLength: 20 }).map((array) => Buffer.from(array)),
    fc.string({ unit: 'binary', minLength: 1 }).map((text) => Buffer.from(text)),
    fc.constantFrom('%', '%41', 'A', '%4', '100%25').map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(bytes, bytes, (one, other) => {
      assert.deepEqual(decode(encode(one)), one);
      assert.equal(encode(one) === encode(other), one.equals(other));
    }),
  );
});

test('a name that could lead elsewhere is refused', () => {
  assert.deepEqual(segmentsOf('/etc/app/').map(String), ['etc', 'app']);
  assert.deepEqual(segmentsOf('/'), []);
  for (const name of ['', 'etc', '//', '/etc//app', '/..', '/./a', '/a/%2E%2E/b', '/a%2Fb', '/a%00b', '/%gg', '/%a']) {
    assert.throws(() => segmentsOf(name), { code: 'malformed' }, name);
  }
});

test('the quick look at a name says what the thorough one does', () => {
  const pieces = fc.array(fc.constantFrom('/', '/', '.', '..', 'a', '...', '%41', '%', '\0', '\n', 'é'), {
    maxLength: 8,
  });
  const isRefused = (check: () => unknown): boolean => {
    try {
      check();
      return false;
    } catch {
      return true;
    }
  };
  fc.assert(
    fc.property(pieces, (some) => {
      const name = `/${some.join('')}`;
      assert.equal(
        isRefused(() => assertName(name)),
        isRefused(() => segmentsOf(name)),
        name,
      );
    }),
    { numRuns: 1000 },
  );
});

test('parents and bases are those of a path', () => {
  assert.equal(parentOf('/etc/app/x'), '/etc/app/');
  assert.equal(parentOf('/etc/app/'), '/etc/');
  assert.equal(parentOf('/etc'), '/');
  assert.equal(String(baseOf('/etc/app/')), 'app');
  assert.ok(isBeneath('/etc/app/', '/etc/app') && isBeneath('/etc/app/x', '/etc/app') && isBeneath('/x', '/'));
  assert.ok(!isBeneath('/etc/app-data', '/etc/app') && !isBeneath('/etc', '/etc/app'));
});

test('a part has the name of its file, unless that is too long for a part', () => {
  assert.equal(partOf('/etc/hosts'), 'data/etc/hosts');
  const long = [1, 2].map((end) => partOf(`/${'ä'.repeat(600)}${end}`));
  assert.ok(long.every((name) => /^long\/[0-9a-f]{64}$/.test(name)));
  assert.equal(new Set(long).size, 2);
});

test('patterns leave out what they say and nothing else', () => {
  const table: [pattern: string, fits: string[], not: string[]][] = [
    ['*.tmp', ['/a.tmp', '/d/e/.tmp', '/d.tmp/'], ['/a.tmpx', '/tmp', '/a.tmp/b']],
    ['/srv/*/cache', ['/srv/x/cache', '/srv/x/cache/'], ['/srv/cache', '/srv/x/y/cache', '/a/srv/x/cache']],
    ['/srv/**', ['/srv', '/srv/a', '/srv/a/b/'], ['/srvx', '/x/srv']],
    ['**/cache', ['/cache', '/a/b/cache'], ['/mycache', '/cache/x']],
    ['app/log?', ['/app/log1', '/x/app/logs'], ['/app/log', '/app/log12', '/myapp/log1']],
    ['[ab][!0-9]', ['/ax', '/b-'], ['/a1', '/cx', '/a']],
    ['a+(b).$', ['/a+(b).$'], ['/aab.$', '/a+bx$']],
    ['/srv/data/', ['/srv/data', '/srv/data/'], ['/srv/data/x']],
  ];
  for (const [pattern, fits, not] of table) {
    const excluded = excluder([pattern]);
    for (const name of fits) assert.ok(excluded(name), `${pattern} fits ${name}`);
    for (const name of not) assert.ok(!excluded(name), `${pattern} does not fit ${name}`);
  }
  assert.ok(!excluder([])('/anything'));
});

test('a selection means a path with all beneath it', () => {
  const wanted = selector(['/etc/app', '*.conf']);
  for (const name of ['/etc/app', '/etc/app/', '/etc/app/x/y', '/a/b.conf']) assert.ok(wanted(name), name);
  for (const name of ['/etc/', '/etc/application', '/a/b.conf.d/']) assert.ok(!wanted(name), name);
});
