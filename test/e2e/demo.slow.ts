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
