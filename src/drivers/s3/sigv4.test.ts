// The examples that AWS publishes in 'Authenticating Requests: Using the Authorization Header'.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { EMPTY_SHA256, type Signable, signer } from './sigv4.ts';

const sign = signer(
  { accessKey: 'AKIAIOSFODNN7EXAMPLE', secretKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' },
  'us-east-1',
);
const at = new Date('2013-05-24T00:00:00Z');
const host = 'examplebucket.s3.amazonaws.com';

function signatureOf(request: Partial<Signable>): string {
  const whole = { method: 'GET', path: '/', query: '', sha256: EMPTY_SHA256, ...request };
  const { authorization = '' } = sign({ ...whole, headers: { host, ...request.headers } }, at);
  return authorization.split('Signature=')[1] ?? '';
}

test('signs as the published examples of AWS do', () => {
  assert.equal(
    signatureOf({ path: '/test.txt', headers: { range: 'bytes=0-9' } }),
    'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  );
  assert.equal(
    signatureOf({
      method: 'PUT',
      path: '/test%24file.text',
      headers: { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
      sha256: hash('sha256', 'Welcome to Amazon S3.', 'hex'),
    }),
    '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
  );
  assert.equal(
    signatureOf({ query: 'lifecycle=' }),
    'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  );
  assert.equal(
    signatureOf({ query: 'max-keys=2&prefix=J' }),
    '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  );
});

test('the key of a day is not that of the next', () => {
  const request = { method: 'GET', path: '/', query: '', headers: { host }, sha256: EMPTY_SHA256 };
  const first = sign(request, at).authorization;
  assert.notEqual(sign(request, new Date('2013-05-25T00:00:00Z')).authorization, first);
  assert.equal(sign(request, at).authorization, first);
});
