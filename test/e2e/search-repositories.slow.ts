// Snapshots of one search cluster in two repositories, each kept for its own time, with the configuration of our page.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { missing } from '../servers/need.ts';
import { startOpenSearch } from '../servers/opensearch.ts';
import { type S3Server, startS3 } from '../servers/s3.ts';
import { expectExit } from './lifeboat.ts';

const DAY_MS = 24 * 60 * 60_000;
const page = readFileSync(new URL('../../docs/drivers/elasticsearch.md', import.meta.url), 'utf8');

/** The clock of the program, so many days back. */
function daysAgo(days: number): Record<string, string> {
  const shift = `const RealDate = Date; globalThis.Date = class extends RealDate {
    constructor(...args) { super(...(args.length > 0 ? args : [RealDate.now() - ${days * DAY_MS}])); }
    static now() { return RealDate.now() - ${days * DAY_MS}; }
  };`;
  return days === 0 ? {} : { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shift)}` };
}

/** What the page says, with this machine's places in it. */
function configuration(
  dir: string,
  { url, repositories, s3 }: { url: string; repositories: string; s3: S3Server },
): string {
  const [, yaml = ''] = /### Several repositories[\s\S]*?```yaml\n([\s\S]*?)```/.exec(page) ?? [];
  assert.match(yaml, /within: 14d[\s\S]*within: 30d/);
  const stores = `stack: shop\nstores:\n  main: { format: restic, bucket: ${dir}/store, password: hush }\n`;
  const keys = `access_key: ${s3.accessKey}, secret_key: ${s3.secretKey}, server_side_encryption_type: bucket_default, `;
  const text = yaml
    .replaceAll('https://search.internal:9200', url)
    .replace('/srv/search-snapshots', join(repositories, 'local'))
    .replace('bucket: search-snapshots', `${keys}bucket: ${s3.bucket}`);
  return stores + text;
}

test('two repositories keep their snapshots for 14 and for 30 days', {
  skip: await missing('opensearch-3', 'minio'),
}, async (t) => {
  await using s3 = await startS3('minio');
  await using search = await startOpenSearch('opensearch-3', {
    settings: {
      's3.client.default.endpoint': s3.endpoint,
      's3.client.default.region': s3.region,
      's3.client.default.path_style_access': 'true',
      's3.client.default.protocol': 'http',
    },
  });
  const ask = async (method: string, path: string, body?: object): Promise<unknown> => {
    const headers = { 'content-type': 'application/json' };
    const reply = await fetch(search.url + path, { method, headers, body: body ? JSON.stringify(body) : null });
    assert.ok(reply.ok, `${method} ${path}: ${reply.status}`);
    return await reply.json();
  };
  await ask('PUT', '/orders/_doc/1?refresh=true', { total: 1 });
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-repositories-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'lifeboat.yaml');
  writeFileSync(file, configuration(dir, { ...search, s3 }));
  const run = (exit: number, args: readonly string[], env = {}) =>
    expectExit(exit, ['--config', file, ...args], { env });
  await run(0, ['init']);
  for (const days of [40, 20, 10, 0]) {
    await ask('PUT', `/orders/_doc/${days}?refresh=true`, { total: days });
    for (const plan of ['search-local', 'search-s3']) await run(0, ['backup', '--plan', plan], daysAgo(days));
  }
  const snapshots = async (repository: string): Promise<number> => {
    return ((await ask('GET', `/_snapshot/${repository}/_all`)) as { snapshots: unknown[] }).snapshots.length;
  };
  assert.deepEqual([await snapshots('lifeboat-local'), await snapshots('lifeboat-s3')], [4, 4]);
  await run(0, ['prune', '--apply', '--allow-many']);
  assert.deepEqual([await snapshots('lifeboat-local'), await snapshots('lifeboat-s3')], [2, 3]);
  const verified = await run(0, ['verify', '--all']);
  assert.match(verified.stdout, /5 points|snapshot/);
  await ask('DELETE', '/orders');
  const listed = (await run(0, ['--json', 'list'])).json() as { points: { id: string; components: object }[] };
  const oldest = listed.points
    .filter(({ components }) => 'search-s3' in components)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const restored = await run(3, ['restore', oldest[0]?.id ?? '', '--yes']);
  assert.match(restored.stdout, /unknown|counted/i);
  // As of 20 days ago: the three documents that were there.
  assert.equal(((await ask('GET', '/orders/_count')) as { count: number }).count, 3);
});
