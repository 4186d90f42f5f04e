import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { targetsOf } from './targets.ts';

test('a password of another target comes from the environment or a file, and a literal one is warned of', async () => {
  const ctx = testContext({ env: { STAGING: 'hush' } });
  const good = await targetsOf(ctx, [
    `main-db=postgresql://me:\${env:STAGING}@staging/shop?host=a,b`,
    'files=/srv/x=y',
  ]);
  assert.deepEqual(good.targets, { 'main-db': 'postgresql://me:hush@staging/shop?host=a,b', files: '/srv/x=y' });
  assert.deepEqual(good.warnings, []);
  const bad = await targetsOf(ctx, ['cache=redis://:hush@staging']);
  assert.match(bad.warnings.join(), /the password of --to cache can be seen in the list of processes/);
  assert.ok(!bad.warnings.join().includes('hush'));
});

test('a target without its component is refused, and its password not repeated', async () => {
  const refused = targetsOf(testContext(), ['postgresql://me:hush@staging/shop?sslmode=require']);
  await assert.rejects(refused, (error) => isFailure(error, 'usage') && !error.message.includes('hush'));
});
