import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { resolveSecrets } from './secrets.ts';

const SECRETS: Readonly<Record<string, object>> = {
  'prod/shop': { SecretString: '{"username":"shop","password":"canary","port":5432}' },
  'prod/plain': { SecretString: 'canary, too' },
  'prod/binary': { SecretBinary: 'AAAA' },
};

/** Answers as the documented JSON protocol of the service does. */
const server = createServer(async (request, response) => {
  const { SecretId: id } = JSON.parse(await text(request)) as { SecretId: string };
  const isKnown = String(request.headers.authorization).includes('Credential=AKIACANARY/');
  const found = request.headers['x-amz-target'] === 'secretsmanager.GetSecretValue' ? SECRETS[id] : undefined;
  const refused = isKnown ? 'ResourceNotFoundException' : 'AccessDeniedException';
  response.writeHead(isKnown && found ? 200 : 400, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(isKnown && found ? { Name: id, ...found } : { __type: refused, Message: 'no' }));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => server.close());
const env = {
  AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  AWS_REGION: 'eu-central-1',
  AWS_ACCESS_KEY_ID: 'AKIACANARY',
  AWS_SECRET_ACCESS_KEY: 'hush',
};

test('a secret comes out of AWS Secrets Manager, whole or one field of it', async () => {
  const value = [`\${aws-secrets:prod/shop#password}`, `\${aws-secrets:prod/plain}`];
  assert.deepEqual(await resolveSecrets(testContext({ env }), value, 'components'), ['canary', 'canary, too']);
});

test('what AWS Secrets Manager does not give is told with the reason, and no key with it', async () => {
  const cases = [
    { name: 'prod/other', code: 'settings-invalid', says: /has no secret prod\/other .*AWS_REGION/ },
    { name: 'prod/shop#port', code: 'settings-invalid', says: /no text in the field port of prod\/shop/ },
    { name: 'prod/plain#password', code: 'settings-invalid', says: /no text in the field password/ },
    { name: 'prod/binary', code: 'settings-invalid', says: /no text of prod\/binary/ },
    { name: '#password', code: 'settings-invalid', says: /is not NAME or NAME#FIELD/ },
    { name: 'prod/shop', code: 'denied', says: /refuses prod\/shop.*GetSecretValue/, AWS_ACCESS_KEY_ID: 'AKIAOTHER' },
    { name: 'prod/shop', code: 'unreachable', says: /does not answer/, AWS_ENDPOINT_URL: 'http://127.0.0.1:1' },
  ];
  for (const { name, code, says, ...other } of cases) {
    const ctx = testContext({ env: { ...env, ...other } });
    await assert.rejects(resolveSecrets(ctx, `\${aws-secrets:${name}}`, 'stores.main.password'), (error) => {
      assert.ok(isFailure(error));
      assert.equal(error.code, code, name);
      assert.match(`${error.message} ${error.hint}`, says);
      assert.match(error.message, /^stores\.main\.password: /);
      assert.ok(!JSON.stringify([error.message, error.hint]).includes('hush'));
      return true;
    });
  }
});
