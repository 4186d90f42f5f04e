import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

function lifeboat(node: string, ...args: string[]): { status: number | null; stdout: string } {
  return spawnSync(node, ['bin/lifeboat', ...args], { encoding: 'utf8' });
}

test('the installed command says its version and passes exit codes through', () => {
  assert.deepEqual(lifeboat(process.execPath, '--version').stdout, `${version}\n`);
  assert.equal(lifeboat(process.execPath, 'no-such-command').status, 2);
});

/** The machine's own Node, where it is older than what Lifeboat needs. */
const older = ['/usr/local/bin/node', '/usr/bin/node'].find((path) => {
  const found = existsSync(path) && spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout;
  return found && Number(found.slice(1).split('.')[0]) < 24;
});

test('an older Node hands over to the packaged one', {
  skip: older ? false : 'this machine has no older Node',
}, () => {
  assert.deepEqual(lifeboat(older ?? '', '--version').stdout, `${version}\n`);
  assert.equal(lifeboat(older ?? '', 'no-such-command').status, 2);
});
