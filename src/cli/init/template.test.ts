import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recoveryKit } from './template.ts';

test('a recovery kit asks for what its stores need, and tells how each is read without us', () => {
  const restic = { name: 'main', url: '/backup/main', key: 'b04577c9aa' };
  const plain = { name: 'dated', url: '/backup/dated', key: null };
  const kit = (...stores: (typeof restic | typeof plain)[]): string => recoveryKit('shop', stores, '/etc/l.yaml');
  assert.match(kit(restic), /^Recovery kit of stack shop: keep these 3 things .*\n1\. The password of the store/);
  assert.match(kit(restic), /\n {2}main: \/backup\/main, opened by key b04577c9\n/);
  assert.doesNotMatch(kit(restic), /gunzip/);
  assert.doesNotMatch(kit(plain), /password|restic|keys kit/);
  assert.match(
    kit(plain),
    /keep these 2 things .*\n1\. The configuration, \/etc\/l\.yaml\.\n2\. Where .*\n[\s\S]*gunzip/,
  );
  assert.match(kit(restic, plain), /restic -r STORE[\s\S]*gunzip/);
});
