// The process stays below what is promised whatever is moved: each command on a component of 1 GiB, at its own peak.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { missingTools } from '../servers/need.ts';
import { workspace } from './workspace.ts';

const PEAK_MIB_MAX = 512;
const BLOCK = Buffer.alloc(8 * 2 ** 20);
const BLOCKS = 128;
const TIME = '/usr/bin/time';
const skip = missingTools(TIME);
const { dir, store, configure, run } = workspace('memory');
const uploads = join(dir, 'uploads');

before(async () => {
  mkdirSync(uploads);
  const cipher = createCipheriv('aes-256-ctr', randomBytes(32), randomBytes(16));
  for (let n = 0; n < BLOCKS; n++) appendFileSync(join(uploads, 'large.bin'), cipher.update(BLOCK));
  configure(`stack: shop
stores: { main: ${store('main')}, other: ${store('other')} }
components: { uploads: { kind: files, paths: [${uploads}] } }
plans: { nightly: { to: [main] } }
`);
  await run(0, 'init');
});

/** Runs the command, and tells the most memory that any of its processes held. */
function peakOf(...args: readonly string[]): number {
  const counted = join(dir, 'counted');
  const options = ['--quiet', '--format', '%M', '--output', counted, 'bin/lifeboat'];
  const config = ['--config', join(dir, 'lifeboat.yaml')];
  const ran = spawnSync(TIME, [...options, ...config, ...args], { encoding: 'utf8' });
  assert.equal(ran.status, 0, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`);
  return Number(readFileSync(counted, 'utf8')) / 1024;
}

const COMMANDS = [
  ['backup', '--plan', 'nightly'],
  ['verify', '--store', 'main', '--read-data'],
  ['drill', '--store', 'main'],
  ['copy', '--from', 'main', '--to', 'other'],
  ['restore', 'latest', '--yes'],
];

for (const args of COMMANDS) {
  test(`1 GiB in less than ${PEAK_MIB_MAX} MiB of memory: lifeboat ${args.join(' ')}`, { skip }, (t) => {
    if (args[0] === 'restore') rmSync(uploads, { recursive: true });
    const peak = peakOf(...args);
    t.diagnostic(`${peak.toFixed(0)} MiB`);
    assert.ok(peak < PEAK_MIB_MAX, `${peak.toFixed(0)} MiB`);
  });
}
