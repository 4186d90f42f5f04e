import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { targetsOf, withoutPassword } from './targets.ts';

test('a password of another target comes from the environment or a file, and a literal one is warned of', async () => {
  const ctx = testContext({ env: { STAGING: 'hush' } });
  const good = await targetsOf(ctx, [
    `main-db=postgresql://me:\${env:STAGING}@staging/shop?host=a,b`,
    'files=/srv/x=y',
  ]);
  assert.deepEqual(good.targets, { 'main-db': 'postgresql://me:hush@staging/shop?host=a,b', files: '/srv/x=y' });
  assert.deepEqual(good.warnings, []);
  for (const literal of ['redis://:hush@staging', 'REDIS://:hush@staging', ':hush@staging:6379']) {
    const bad = await targetsOf(ctx, [`cache=${literal}`]);
    assert.match(bad.warnings.join(), /the password of --to cache can be seen in the list of processes/, literal);
    assert.ok(!bad.warnings.join().includes('hush'));
  }
});

test('a target is shown without its password, with a scheme or without, and is itself otherwise', () => {
  for (const [target, shown] of [
    ['redis://:hush@staging', 'redis://@staging'],
    ['REDIS://:hush@staging', 'REDIS://@staging'],
    [':hu@sh@staging:6379', '@staging:6379'],
    ['me:hush@staging:6379', 'me@staging:6379'],
    ['postgresql://me@corp:hu/sh@staging/shop', 'postgresql://me@corp@staging/shop'],
  ] as const) {
    assert.equal(withoutPassword(target), shown);
  }
  for (const target of ['redis://me@staging:6379/1', 'staging:6379', '/srv/x:y@z', 'postgresql://me@h/db']) {
    assert.equal(withoutPassword(target), target);
  }
});

test('a target without its component is refused, and its password not repeated', async () => {
  for (const pair of [
    'postgresql://me:hush@staging/shop?sslmode=require',
    '=postgresql://me:hush@staging/shop',
    'x/y=postgresql://me:hush@staging/shop',
    'me:hush=@staging',
  ]) {
    const refused = targetsOf(testContext(), [pair]);
    await assert.rejects(refused, (error) => isFailure(error, 'usage') && !error.message.includes('hush'), pair);
  }
});
