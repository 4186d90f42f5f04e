// The exit codes that scripts rely on, each from the command itself. Those that need a server are in restore.test.ts
// and faults.test.ts; 'interrupted' is in interrupt.test.ts, 'not-confirmed' in restore.test.ts.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { lifeboat, type Ran } from './lifeboat.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, write, run } = workspace('exit-codes');
const uploads = join(dir, 'uploads');
const config = (stack: string, main = store('store')): string =>
  `stack: ${stack}\nstores: { main: ${main} }\ncomponents: { uploads: { kind: files, paths: [${uploads}] } }\n`;

before(async () => {
  configure(config('shop'));
  write('uploads/a.txt', 'a');
  await run(0, 'init');
  await run(0, 'backup');
  await run(0, 'backup');
});

function errorOf(ran: Ran): string {
  return (ran.json() as { error: { code: string } }).error.code;
}

test('2: a line that contradicts itself is refused', async () => {
  assert.equal(errorOf(await run(2, 'restore', 'latest', '--at', '1h ago', '--json')), 'usage');
  assert.equal(errorOf(await run(2, 'restore', '--json')), 'usage');
  assert.equal(errorOf(await run(2, 'backup', '--plan', 'nightly', '--json')), 'usage');
  assert.equal(errorOf(await run(2, 'restore', '--at', 'yesterday', '--json')), 'usage');
});

test('11: a point that is nowhere, and a time before the first one, are missing', async () => {
  assert.equal(errorOf(await run(11, 'show', '2020-01-01-000000', '--json')), 'missing');
  assert.equal(errorOf(await run(11, 'restore', '--at', '2020-01-01T00:00:00Z', '--preview', '--json')), 'missing');
});

test('12: a target that holds data is left as it is', async () => {
  write('uploads/a.txt', 'newer');
  assert.equal(errorOf(await run(12, 'restore', 'latest', '--yes', '--json')), 'target-not-empty');
  assert.equal(readFileSync(join(uploads, 'a.txt'), 'utf8'), 'newer');
});

test('15: a wrong password of the store is told apart from a store that is not there', async () => {
  configure(config('shop', store('store').replace(/password: .*}"/, 'password: wrong')));
  assert.equal(errorOf(await run(15, 'list', '--json')), 'wrong-password');
  configure(config('shop', store('nowhere')));
  assert.equal(errorOf(await run(11, 'list', '--json')), 'missing');
  configure(config('shop'));
});

test('18: a store is not made where something else lies', async () => {
  write('taken/somebody.txt', "somebody else's");
  configure(config('shop', store('taken')));
  assert.equal(errorOf(await run(18, 'init', '--json')), 'exists');
  assert.deepEqual(readdirSync(join(dir, 'taken')), ['somebody.txt']);
  configure(config('shop'));
});

test('19: space is not freed while a backup is written', async () => {
  configure(config('shop', store('store').replace('}"', '}", rate_limit: 50KB')));
  writeFileSync(join(uploads, 'large.bin'), randomText(3_000_000));
  let pruned: Promise<Ran> | undefined;
  const ran = await lifeboat(['backup', '--progress', 'json', '--json'], {
    cwd: dir,
    onStart(child) {
      child.stderr?.on('data', (text: string) => {
        if (pruned || !/"bytes":[1-9]/.test(text)) return;
        pruned = lifeboat(['prune', '--apply', '--json'], { cwd: dir });
        pruned.then(
          () => child.kill('SIGINT'),
          () => child.kill('SIGINT'),
        );
      });
    },
  });
  assert.equal(ran.code, 130, ran.stdout + ran.stderr);
  const said = await pruned;
  assert.equal(said?.code, 19, `${said?.stdout}${said?.stderr}`);
  assert.equal(said && errorOf(said), 'locked');
  rmSync(join(uploads, 'large.bin'));
  configure(config('shop'));
});

test('25: a prefix that fits two points is ambiguous', async () => {
  assert.equal(errorOf(await run(25, 'show', '20', '--json')), 'ambiguous');
});

test('26: the store of another stack is refused', async () => {
  configure(config('another'));
  assert.equal(errorOf(await run(26, 'backup', '--json')), 'not-this-stack');
  configure(config('shop'));
});

test('13: a flipped bit is found, named, and is the exit code of a verify', async () => {
  const packs = readdirSync(join(dir, 'store/data'), { recursive: true, encoding: 'utf8' })
    .map((name) => join(dir, 'store/data', name))
    .filter((path) => statSync(path).isFile());
  for (const path of packs) {
    const bytes = readFileSync(path);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    rmSync(path);
    writeFileSync(path, bytes);
  }
  const ran = await run(13, 'verify', '--read-data', '--json');
  assert.ok(JSON.stringify(ran.json()).includes('checksum'), ran.stdout);
});

function randomText(bytes: number): string {
  let state = 1;
  return Array.from({ length: bytes }, () => {
    state = (state * 48271) % 2147483647;
    return String.fromCharCode(33 + (state % 90));
  }).join('');
}
