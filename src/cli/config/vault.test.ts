import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { resolveSecrets } from './secrets.ts';

/** Answers as the documented HTTP interface of the key-value engine does. */
function answerOf({ url, headers }: IncomingMessage): [number, object] {
  if (headers['x-vault-token'] !== 'hush' || headers['x-vault-namespace'] !== 'team') {
    return [403, { errors: ['permission denied'] }];
  }
  if (url === '/v1/secret/data/moved') return [307, {}];
  if (url === '/v1/secret/data/sealed') return [503, { errors: ['Vault is sealed'] }];
  if (url !== '/v1/secret/data/shop/db%20a') return [404, { errors: [] }];
  return [200, { data: { data: { password: 'canary', port: 5432 }, metadata: { version: 3, destroyed: false } } }];
}

const server = createServer((request, response) => {
  const [status, json] = answerOf(request);
  response.writeHead(status, { 'content-type': 'application/json', location: 'http://localhost:1/' });
  response.end(JSON.stringify(json));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => server.close());
const VAULT_ADDR = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const env = { VAULT_ADDR, VAULT_TOKEN: 'hush', VAULT_NAMESPACE: 'team' };

test('a secret comes out of Vault', async () => {
  const value = { url: `redis://:\${vault:secret/data/shop/db a#password}@cache` };
  const resolved = await resolveSecrets(testContext({ env }), value, 'components.cache');
  assert.deepEqual(resolved, { url: 'redis://:canary@cache' });
});

test('what Vault does not give is told with the reason, and the token with nobody', async () => {
  const cases = [
    { path: 'secret/data/other#password', code: 'settings-invalid', says: /has no secret secret\/data\/other/ },
    { path: 'secret/shop#password', code: 'settings-invalid', says: /MOUNT\/data\/NAME/ },
    { path: 'secret/data/shop/db a#port', code: 'settings-invalid', says: /no text in the field port/ },
    { path: 'secret/data/shop', code: 'settings-invalid', says: /is not PATH#FIELD/ },
    { path: 'secret/data/shop#a', code: 'denied', says: /refuses secret\/data\/shop/, VAULT_TOKEN: 'other' },
    { path: 'secret/data/shop#a', code: 'settings-invalid', says: /VAULT_TOKEN is not set/, VAULT_TOKEN: '' },
    { path: 'secret/data/shop#a', code: 'unreachable', says: /does not answer/, VAULT_ADDR: 'http://127.0.0.1:1' },
    { path: 'secret/data/moved#a', code: 'unreachable', says: /does not answer/ },
    { path: 'secret/data/sealed#a', code: 'unreachable', says: /answers 503/ },
  ];
  for (const { path, code, says, ...other } of cases) {
    const ctx = testContext({ env: { ...env, ...other } });
    await assert.rejects(resolveSecrets(ctx, `\${vault:${path}}`, 'stores.main.password'), (error) => {
      assert.ok(isFailure(error));
      assert.equal(error.code, code, path);
      assert.match(`${error.message} ${error.hint}`, says);
      assert.match(error.message, /^stores\.main\.password: /);
      assert.ok(!JSON.stringify([error.message, error.hint]).includes('hush'));
      return true;
    });
  }
});
