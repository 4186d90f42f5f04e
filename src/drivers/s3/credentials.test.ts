import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { testContext } from '../../core/testing.ts';
import { signers } from './credentials.ts';
import { readSettings } from './settings.ts';

const inEnv = { AWS_ACCESS_KEY_ID: 'env-key', AWS_SECRET_ACCESS_KEY: 'env-secret' };

/** A home directory with two profiles. */
function home(): Record<string, string> {
  const dir = mkdtempSync(join(testContext().scratch, 'home-'));
  const profile = (name: string): string =>
    `[${name}]\naws_access_key_id = ${name}-key\naws_secret_access_key = ${name}-secret\n`;
  writeFileSync(join(dir, 'credentials'), profile('default') + profile('backup'));
  writeFileSync(join(dir, 'config'), '');
  const files = { AWS_SHARED_CREDENTIALS_FILE: join(dir, 'credentials'), AWS_CONFIG_FILE: join(dir, 'config') };
  return { ...files, AWS_EC2_METADATA_DISABLED: 'true' };
}
async function keyFrom(env: Record<string, string>, settings: object = {}, at = Date.now()): Promise<string> {
  const sign = await signers(testContext({ env }), readSettings({ buckets: ['docs'], ...settings }), 'us-east-1')(at);
  const { authorization = '' } = sign({ method: 'GET', path: '/', query: '', headers: {}, sha256: '' }, new Date(at));
  return /Credential=([^/]+)\//.exec(authorization)?.[1] ?? '';
}

test('keys of a component come from its settings, the environment and the files of the AWS tools, in this order', async () => {
  const inSettings = { access_key: 'set-key', secret_key: 'set-secret' };
  assert.equal(await keyFrom({ ...inEnv, ...home() }, inSettings), 'set-key');
  assert.equal(await keyFrom({ ...inEnv, ...home() }), 'env-key');
  assert.equal(await keyFrom(home()), 'default-key');
  assert.equal(await keyFrom({ ...inEnv, ...home(), AWS_PROFILE: 'backup' }), 'backup-key');
  assert.equal(await keyFrom({ ...inEnv, ...home() }, { profile: 'backup' }), 'backup-key');
});

test('a component without any key is denied, with the ways to give one', async () => {
  const dir = mkdtempSync(join(testContext().scratch, 'home-'));
  const nothing = keyFrom({ HOME: dir, AWS_EC2_METADATA_DISABLED: 'true' });
  await assert.rejects(nothing, { code: 'denied', hint: /access_key.*profile/ });
});

test('the keys of a container are renewed before they pass away', async (t) => {
  let given = 0;
  const server = createServer((_request, response) => {
    given += 1;
    const Expiration = new Date(Date.now() + 3_600_000).toISOString();
    const keys = { AccessKeyId: `role-${given}`, SecretAccessKey: 'secret', Token: 'token', Expiration };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(keys));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const dir = mkdtempSync(join(testContext().scratch, 'home-'));
  const env = { HOME: dir, AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${port}/keys` };
  const ask = signers(testContext({ env }), readSettings({ buckets: ['docs'] }), 'us-east-1');
  const now = Date.now();
  const [first, second] = await Promise.all([ask(now), ask(now)]);
  assert.equal(first, second);
  assert.equal(await ask(now + 60_000), first);
  assert.equal(given, 1);
  assert.notEqual(await ask(now + 3_500_000), first);
  assert.equal(given, 2);
});
