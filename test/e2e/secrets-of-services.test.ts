// Other ways to sign in, and a store in which a manifest can be read.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { nsAgo, push } from '../../src/drivers/loki/testing.ts';
import { installed } from '../servers/install.ts';
import { startKafka } from '../servers/kafka.ts';
import { startLoki } from '../servers/loki.ts';
import { needServer } from '../servers/need.ts';
import { startOpenSearch } from '../servers/opensearch.ts';
import { startS3 } from '../servers/s3.ts';
import { certificateIn } from '../servers/tls.ts';
import {
  assertClean,
  assertCleanFiles,
  filesUnder,
  fillOrders,
  gatewayTo,
  reachableDir,
  type Secrets,
  watchCommandLines,
} from './canaries.ts';
import { lifeboat } from './lifeboat.ts';

const SECRETS = {
  search: 'canary-search-40be17',
  key: 'canary-key-8ac2f5',
  kafka: 'canary-scram-2d9e63',
  loki: 'canary-loki-771c0a',
  token: 'canary-token-e5b094',
};
const dir = reachableDir(join(tmpdir(), 'lifeboat-signing-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const loginOf = (password: string): string => Buffer.from(`backup:${password}`).toString('base64');

test('what signs in to search, by SCRAM, certificate, API key or token, is nowhere either, right or wrong (fault 50)', async (t) => {
  if (!(await needServer(t, 'opensearch-2', 'kafka-4', 'loki-3', 'minio'))) return;
  await using servers = new AsyncDisposableStack();
  const [search, kafka, loki, s3] = await Promise.all([
    startOpenSearch('opensearch-2').then((each) => servers.use(each)),
    startKafka('kafka-4', { users: { admin: SECRETS.kafka }, tls: true }).then((each) => servers.use(each)),
    startLoki().then((each) => servers.use(each)),
    startS3('minio').then((each) => servers.use(each)),
  ]);
  const [byPassword, byKey, logs] = await Promise.all([
    gatewayTo(search.url, `Basic ${loginOf(SECRETS.search)}`),
    gatewayTo(search.url, `ApiKey ${SECRETS.key}`),
    gatewayTo(loki.url, `Basic ${loginOf(SECRETS.loki)}`),
  ]);
  for (const each of [byPassword, byKey, logs]) servers.use(each);
  for (const index of ['products', 'reviews']) {
    const init = { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
    assert.ok((await fetch(`${search.url}/${index}/_doc/1?refresh=true`, init)).ok);
  }
  await fillOrders(kafka, SECRETS.kafka);
  await push(loki, [{ stream: { app: 'shop' }, values: [[nsAgo(60_000), 'a line']] }]);
  const { certFile, keyFile } = await certificateIn(dir);
  const [, keyLine = ''] = readFileSync(keyFile, 'utf8').split('\n');
  assert.ok(keyLine.length > 40);
  const common = `stack: shop
stores: { dated: { format: plain, layout: dated, bucket: ${join(dir, 'plain')} } }
`;
  writeFileSync(
    join(dir, 'lifeboat.yaml'),
    `${common}components:
  search: { kind: elasticsearch, url: "${byPassword.url}", username: backup, password: "\${env:SEARCH_SECRET}", indices: [products] }
  reviews: { kind: elasticsearch, url: "${byKey.url}", api_key: "\${env:KEY_SECRET}", indices: [reviews] }
  events:
    kind: kafka
    brokers: "${kafka.brokers}"
    topics: [orders]
    sasl: { mechanism: SCRAM-SHA-512, username: admin, password: "\${env:KAFKA_SECRET}" }
    tls: { ca_file: ${kafka.caFile}, cert_file: ${certFile}, key_file: ${keyFile} }
  logs: { kind: loki, url: "${logs.url}", username: backup, password: "\${env:LOKI_SECRET}" }
`,
  );
  const identity = `access_key: ${s3.accessKey}, secret_key: ${s3.secretKey}, session_token: "\${env:TOKEN_SECRET}"`;
  writeFileSync(
    join(dir, 'token.yaml'),
    `${common}components:
  objects: { kind: s3, endpoint: "${s3.endpoint}", ${identity}, buckets: [${s3.bucket}] }
`,
  );
  const programs = [await installed('opensearch-2'), loki.program].map((program) => dirname(program));
  const env: Secrets = {
    ...Object.fromEntries(Object.entries(SECRETS).map(([name, value]) => [`${name.toUpperCase()}_SECRET`, value])),
    TMPDIR: join(dir, 'tmp'),
    KAFKA_HOME: kafka.lib,
    PATH: [...programs, process.env.PATH].join(delimiter),
  };
  mkdirSync(join(dir, 'tmp'));
  const wrong = Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, name.endsWith('_SECRET') ? `${value}-no` : value]),
  );
  const wrongOnes = [SECRETS.search, SECRETS.loki].map((secret) => loginOf(`${secret}-no`));
  const logins = [...[SECRETS.search, SECRETS.loki].map(loginOf), ...wrongOnes];
  const canaries = { ...SECRETS, ...Object.fromEntries(logins.map((each, n) => [`login ${n}`, each])), TLS: keyLine };
  const evidence = join(dir, 'evidence.json');
  const watch = watchCommandLines();
  const runs: [codes: readonly number[], words: string[], env: Secrets][] = [
    [[0], ['init'], env],
    [[0, 3], ['doctor'], env],
    [[0], ['backup'], env],
    [[0], ['drill', '--evidence', evidence], env],
    [[0], ['restore', 'latest', '--in-place', '--yes'], env],
    [[3], ['doctor'], wrong],
    [[1], ['backup'], wrong], // none is let in
    [[3], ['backup'], { ...wrong, KEY_SECRET: SECRETS.key }], // and now why the others were not is in a manifest
    [[3], ['restore', 'latest', '--in-place', '--preview'], wrong],
    [[3], ['--config', 'token.yaml', 'doctor'], env],
    [[1], ['--config', 'token.yaml', 'backup'], env],
  ];
  for (const [codes, words, given] of runs) {
    const ran = await lifeboat([...words, '--log-level', 'debug'], { cwd: dir, env: given });
    const text = `$ lifeboat ${words.join(' ')} → ${ran.code}\n${ran.stdout}\n${ran.stderr}`;
    assert.ok(ran.code !== null && codes.includes(ran.code), text);
    assertClean(text, words.join(' '), canaries);
  }
  for (const line of watch.stop()) assertClean(line, `the command line ${line.slice(0, 80)}`, canaries);
  assertClean(readFileSync(evidence, 'utf8'), 'the evidence', canaries);
  const manifests = filesUnder(join(dir, 'plain')).filter((file) => file.endsWith('manifest.json'));
  const refused = manifests.filter((file) => /not you: (Basic|ApiKey) …/.test(readFileSync(file, 'utf8')));
  assert.equal(refused.length, 1, 'what gateways said is in a manifest, without what they quoted');
  for (const root of ['plain', 'tmp']) {
    if (filesUnder(join(dir, root)).length > 0) assertCleanFiles(join(dir, root), canaries);
  }
});
