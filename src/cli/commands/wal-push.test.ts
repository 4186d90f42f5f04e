// wal-push as the server itself runs it, and what it says.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { unprivilegedUser } from '../../../test/servers/install.ts';
import { needServer } from '../../../test/servers/need.ts';
import { startPostgres } from '../../../test/servers/postgres.ts';
import { localBucket } from '../../buckets/local/bucket.ts';
import { liveContext } from '../../core/testing.ts';
import { sql } from '../../drivers/postgresql/testing.ts';
import { piecesOf, until } from '../../drivers/postgresql/wal/testing.ts';
import { plainFormat } from '../../stores/plain/store.ts';
import { filesStack } from '../testing.ts';

test('a server archives by it: what it was told of as stored is in the journal', async (t) => {
  if (!(await needServer(t, 'postgres-16'))) return;
  const ctx = liveContext();
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-archiver-'));
  try {
    const file = join(dir, 'lifeboat.yaml');
    const components = 'main-db: { kind: postgresql, host: 127.0.0.1, capture: [physical] }';
    const store = `one: { format: plain, layout: dated, bucket: ${dir}/one }`;
    writeFileSync(file, `stack: shop\nstores:\n  ${store}\ncomponents:\n  ${components}\n`);
    const main = [process.execPath, '--disable-warning=ExperimentalWarning', resolve('src/cli/main.ts')];
    execFileSync(main[0] ?? '', [...main.slice(1), 'init', '--config', file]);
    const owner = unprivilegedUser();
    if (owner) execFileSync('chown', ['-R', `${owner.uid}:${owner.gid}`, dir]);
    const archive_command = `${main.join(' ')} wal-push --config ${file} %p`;
    await using server = await startPostgres(16, { conf: { archive_mode: 'on', archive_command } });
    await sql(server, 'postgres', 'create table archived ()', 'select pg_switch_wal()');
    await until('the server counts it as archived', async () => {
      const [row] = await sql(
        server,
        'postgres',
        'select archived_count::int as n, failed_count::int as failed from pg_stat_archiver',
      );
      assert.equal((row as { failed: number }).failed, 0, server.output());
      return (row as { n: number }).n > 0;
    });
    await using open = await plainFormat.open(ctx, localBucket(join(dir, 'one')), { stack: 'shop', layout: 'dated' });
    const [piece] = await piecesOf(ctx, open.journal('main-db'));
    assert.equal(piece?.bytes.length, 16 * 1024 * 1024);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('without a component that has such a log, or with two, wal-push says which one it needs', async () => {
  const path = '/nowhere/000000010000000000000001';
  const components = ['db', 'other'].map((name) => `  ${name}: { kind: postgresql, host: 127.0.0.1 }`);
  using stack = await filesStack();
  const refused = await stack.run('wal-push', path);
  assert.deepEqual([refused.exit, refused.failure], [2, 'no component has a log that a server hands over by itself\n']);
  appendFileSync(stack.file, components.join('\n'));
  const { exit, failure } = await stack.run('wal-push', path);
  assert.deepEqual([exit, failure], [25, 'the log of which component? db, other\nname it by --component']);
  const absent = await stack.run('wal-push', '--component', 'db', path);
  assert.deepEqual([absent.exit, absent.failure], [11, `${path} can not be opened (ENOENT)\n`]);
});
