import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { missing } from '../../../test/servers/need.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { emptied, sharedCluster } from './testing.ts';

const exec = promisify(execFile);
const name = 'opensearch-2';
const started = sharedCluster(name);
const { open, compare } = elasticsearchDriver;
const page = readFileSync('docs/drivers/elasticsearch.md', 'utf8');

test('the commands of our page bring an index and a pipeline back with curl alone', {
  skip: await missing(name),
}, async (t) => {
  const ctx = liveContext();
  const cluster = await emptied(await started());
  await cluster.ask('PUT', '/orders', { settings: { number_of_shards: 2 }, aliases: { sales: {} } });
  const orders = Array.from({ length: 500 }, (_, n) => [
    { index: { _id: `o${n}`, routing: `r${n % 5}`, version: n + 3, version_type: 'external' } },
    { total: n, note: 'a "quoted"\nnote' },
  ]);
  await cluster.bulk('/orders', orders.flat());
  await cluster.ask('PUT', '/_ingest/pipeline/NAME', { processors: [] });
  const { sink, source } = memoryParts();
  await open({ url: cluster.url }).capture(ctx, sink);
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-without-'));
  t.after(() => rmSync(dir, { recursive: true }));
  for await (const part of source.parts(ctx)) {
    const path = join(dir, part.name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(
      path,
      Buffer.concat(await Array.fromAsync(source.get(ctx, part.name), (chunk) => Buffer.from(chunk))),
    );
  }
  await emptied(cluster);
  const [, script = ''] = /## Without Lifeboat[\s\S]*?```sh\n([\s\S]*?)```/.exec(page) ?? [];
  await exec('sh', ['-ec', script], { env: { ...process.env, DIR: dir, URL: cluster.url } });
  await cluster.ask('POST', '/orders/_refresh');
  const now = await open({ url: cluster.url }).inventory(ctx);
  const found = await Array.fromAsync(compare(ctx, inventoryOf(source), now));
  assert.deepEqual(
    found.filter(({ verdict }) => verdict !== 'pass'),
    [],
  );
  const { _version: version } = await cluster.ask('GET', '/orders/_doc/o7?routing=r2');
  assert.equal(version, 10);
});
