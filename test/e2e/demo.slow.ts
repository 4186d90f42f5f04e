import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { missing } from '../servers/need.ts';

const skip = await missing('postgres-17', 'redis-8', 'seaweedfs', 'restic');

for (const args of [[], ['--s3']]) {
  test(`the demo runs to its end: npm run demo ${args.join(' ')}`, { skip }, () => {
    const ran = spawnSync('npm', ['run', '--silent', 'demo', '--', ...args], { encoding: 'utf8' });
    assert.equal(ran.status, 0, `${ran.stdout}\n${ran.stderr}`);
    assert.match(ran.stdout, /^equal$/m);
    assert.match(ran.stdout, /Nothing is left running\.\n$/);
    assert.match(ran.stdout, /^no errors were found$/m); // restic
    assert.doesNotMatch(ran.stdout, /Look at: .*s3:/);
  });
}

test('the demo of a mistake runs to its end', { skip: await missing('postgres-17', 'redis-8') }, () => {
  const ran = spawnSync('npm', ['run', '--silent', 'demo', '--', '--pitr'], { encoding: 'utf8' });
  assert.equal(ran.status, 0, `${ran.stdout}\n${ran.stderr}`);
  for (const name of ['PostgreSQL', 'Redis']) {
    assert.match(
      ran.stdout,
      new RegExp(`^${name}: \\d+ orders acknowledged before, 0 of them missing; \\d+ sent after, 0 `, 'm'),
    );
  }
  for (const name of ['main-db', 'cache'])
    assert.match(ran.stdout, new RegExp(`^${name}: lost .* by its marker +\\d`, 'm'));
  assert.match(ran.stdout, /Nothing is left running\.\n$/);
});

const stackServers = ['postgres-17', 'redis-8', 'minio', 'opensearch-2', 'kafka-4', 'zookeeper-3.9', 'loki-3'] as const;

test('the demo of the whole stack runs to its end', { skip: await missing(...stackServers) }, () => {
  const ran = spawnSync('npm', ['run', '--silent', 'demo', '--', '--stack'], { encoding: 'utf8' });
  assert.equal(ran.status, 0, `${ran.stdout}\n${ran.stderr}`);
  assert.match(ran.stdout, /^equal$/m);
  assert.match(ran.stdout, /^- Critical path: /m);
  assert.match(ran.stdout, /Everything that was started is ended\.\n$/);
});
