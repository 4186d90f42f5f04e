import assert from 'node:assert/strict';
import { test } from 'node:test';
import { liveContext } from '../../core/testing.ts';
import { driverNames, driverPlugin } from '../plugins.ts';
import { configSchemaJson } from './json-schema.ts';
import { parseConfig } from './load.ts';
import { PLACE_KEYS } from './staging.ts';

/** What a driver is to do or to cover. A staging service gets them from the component. */
const COVERAGE = new Set([
  ...['databases', 'capture', 'inventory', 'lock_timeout', 'deadline', 'bin_dir', 'jobs', 'timeout', 'selector'],
  ...['since', 'home', 'buckets', 'versions', 'tags', 'acl', 'connections', 'topics', 'exclude', 'groups', 'acls'],
  ...['server', 'paths', 'indices', 'method', 'recheck', 'max_rate', 'slot', 'incremental', 'follow_every'],
]);

test('of every setting of every driver it is known whether it says where a service is, or what of it is meant', async () => {
  for (const kind of driverNames()) {
    const keys = Object.keys((await driverPlugin(kind)).settings.shape);
    const unknown = keys.filter((key) => PLACE_KEYS.includes(key) === COVERAGE.has(key));
    assert.deepEqual(unknown, [], `${kind}: put it into PLACE_KEYS of staging.ts, or into COVERAGE here`);
  }
});

const withSandbox = (sandbox: string): string => `
stack: shop
stores: { main: { format: plain, layout: dated, bucket: /backup } }
components:
  objects:
    kind: s3
    endpoint: http://minio.internal:9000
    access_key: live
    secret_key: \${env:LIVE_KEY}
    versions: true
    buckets: [invoices]
    sandbox: ${sandbox}
`;

test('a staging service gets what it is to hold from the component, and its place and login from nobody', async () => {
  const ctx = liveContext({ env: { STAGING_KEY: 'theirs' } });
  const key = `"\${env:STAGING_KEY}"`;
  const sandbox = `{ external: { endpoint: "http://staging:9000", access_key: test, secret_key: ${key} } }`;
  const [item] = (await parseConfig(ctx, withSandbox(sandbox), 'lifeboat.yaml')).components;
  assert.deepEqual(await item?.staging?.(ctx), {
    versions: true,
    buckets: ['invoices'],
    endpoint: 'http://staging:9000',
    access_key: 'test',
    secret_key: 'theirs',
  });
  assert.deepEqual(item?.variables.toSorted(), ['LIVE_KEY', 'STAGING_KEY']);
});

test('what is wrong with the settings of a staging service is told with its line', async () => {
  const read = (sandbox: string) => parseConfig(liveContext(), withSandbox(sandbox), 'lifeboat.yaml');
  const wrong = '{ external: { endpoint: 7 } }';
  await assert.rejects(read(wrong), {
    code: 'settings-invalid',
    message: /yaml:12: components.objects.sandbox.external/,
  });
  await assert.rejects(read('{ external: { endpoinnt: "http://a" } }'), { hint: /did you mean endpoint/ });
  await assert.rejects(read('{ isolated: true }'), { message: /components.objects.sandbox.external/ });
});

test('the schema for editors knows the settings of staging services', async () => {
  const text = JSON.stringify(await configSchemaJson());
  assert.match(text, /"external":\{"type":"object","properties":\{"url"/);
});
