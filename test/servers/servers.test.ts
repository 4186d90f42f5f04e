import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { missing } from './need.ts';
import { type Postgres, postgresMajors, startPostgres } from './postgres.ts';
import { redisNames, startRedis } from './redis.ts';
import { startS3 } from './s3.ts';

const exec = promisify(execFile);

async function ask(server: Postgres, sql: string): Promise<string> {
  const env = { ...process.env, PGPASSWORD: server.password, PGCONNECT_TIMEOUT: '10' };
  const where = ['-h', server.host, '-p', String(server.port), '-U', server.user];
  const { stdout } = await exec(`${server.bin}/psql`, ['-X', '-A', '-t', ...where, '-c', sql], { env });
  return stdout.trim();
}

for (const major of postgresMajors) {
  test(`a PostgreSQL ${major} starts, dies, comes back and is gone`, {
    skip: await missing(`postgres-${major}`),
  }, async () => {
    let dir = '';
    {
      await using server = await startPostgres(major);
      dir = server.dir;
      assert.equal(await ask(server, `select current_setting('server_version_num')::int / 10000`), String(major));
      await ask(server, 'create table kept as select 1 as x');
      await server.kill();
      await server.start();
      assert.equal(await ask(server, 'select x from kept'), '1');
      await server.stop();
      await server.start();
      assert.equal(await ask(server, 'select x from kept'), '1');
    }
    assert.ok(!existsSync(dir), 'its directory is removed');
  });
}

test('a PostgreSQL with TLS lets nobody in without', { skip: await missing('postgres-15') }, async () => {
  await using server = await startPostgres(15, { tls: true, conf: { work_mem: '5MB' } });
  assert.equal(await ask(server, 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'), 't');
  assert.equal(await ask(server, 'show work_mem'), '5MB');
  const refused = exec(`${server.bin}/psql`, ['-X', '-c', 'select 1', `${server.url}?sslmode=disable`]);
  await assert.rejects(refused, /no encryption/);
});

test('two servers share an identity unless told otherwise', { skip: await missing('postgres-16') }, async () => {
  const sql = 'select system_identifier from pg_control_system()';
  await using plain = await startPostgres(16);
  await using copy = await startPostgres(16);
  await using own = await startPostgres(16, { ownIdentity: true });
  assert.equal(await ask(plain, sql), await ask(copy, sql));
  assert.notEqual(await ask(plain, sql), await ask(own, sql));
});

for (const name of redisNames) {
  test(`${name} starts, dies and comes back`, { skip: await missing(name) }, async () => {
    await using server = await startRedis(name, { args: ['--maxclients', '50'] });
    const before = server.pid;
    await server.kill();
    await server.start();
    assert.notEqual(server.pid, before);
    assert.ok(existsSync(`/proc/${server.pid}`));
  });
}

test('redis-7 starts with TLS', { skip: await missing('redis-7') }, async () => {
  await using server = await startRedis('redis-7', { tls: true });
  assert.match(server.url, /^rediss:/);
});

for (const name of ['seaweedfs', 'versitygw', 'minio'] as const) {
  test(`${name} starts with a bucket`, { skip: await missing(name) }, async () => {
    await using server = await startS3(name);
    assert.equal((await fetch(`${server.endpoint}/${server.bucket}?list-type=2`)).status, 403);
  });
}
