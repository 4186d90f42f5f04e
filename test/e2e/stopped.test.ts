// Ctrl-C in the middle of each long command: it stops soon and cleanly, what remains is usable, and the same command
// succeeds when it is given again.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { lifeboat } from './lifeboat.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, run } = workspace('stopped');
const uploads = join(dir, 'uploads');
const scratch = join(dir, 'scratch');
const FILES = ['a.bin', 'b.bin', 'c.bin', 'd.bin'];
let held: Buffer[] = [];

before(async () => {
  mkdirSync(uploads);
  mkdirSync(scratch);
  held = FILES.map((name) => {
    const bytes = randomBytes(800_000);
    writeFileSync(join(uploads, name), bytes);
    return bytes;
  });
  configured('');
  await run(0, 'init');
  await run(0, 'backup', '--plan', 'nightly');
});

/** With a limit everything takes seconds, so that there is a middle. */
function configured(limit: string): void {
  const limited = (name: string): string => store(name).replace('}"', `}"${limit}`);
  configure(`stack: shop
stores: { main: ${limited('main')}, other: ${limited('other')} }
components: { uploads: { kind: files, paths: [${uploads}] } }
plans: { nightly: { to: [main], keep: { last: 1 } } }
`);
}

/** Runs the command slowly, stops it as soon as `begun` says so of what it has told, and gives its hint. */
async function stopped(begun: (told: string) => boolean, ...args: string[]): Promise<string> {
  configured(', rate_limit: 200KB');
  let poll: NodeJS.Timeout | undefined;
  const ran = await lifeboat([...args, '--json', '--progress', 'json'], {
    cwd: dir,
    env: { TMPDIR: scratch },
    onStart(child) {
      let told = '';
      child.stderr?.on('data', (text: string) => void (told += text));
      poll = setInterval(() => !child.killed && begun(told) && child.kill('SIGINT'), 5);
    },
  });
  clearInterval(poll);
  configured('');
  assert.equal(ran.code, 130, ran.stdout + ran.stderr);
  const { error } = ran.json() as { error: { code: string; hint: string } };
  assert.equal(error.code, 'interrupted');
  assert.deepEqual(readdirSync(scratch), [], 'nothing is left in the temporary directory');
  return error.hint;
}

const moving = (told: string): boolean => /"bytes":[1-9]/.test(told);
const locked = (): boolean =>
  readdirSync(join(dir, 'main'), { recursive: true }).some((path) => /^locks\/./.test(`${path}`));

test('a restore that is stopped marks what is half there, and says how the command goes on with it', async () => {
  rmSync(uploads, { recursive: true });
  const hint = await stopped(moving, 'restore', 'latest', '--yes', '--store', 'main');
  const [, point = '', how = ''] = /go on with the same command for point (\S+) with (.*)$/.exec(hint) ?? [];
  assert.match(point, /^\d{4}-\d\d-\d\d-\d{6}$/);
  assert.equal(how, '--store main --in-place --only uploads');
  await run(12, 'restore', 'latest', '--yes');
  await run(0, 'restore', point, '--yes', ...how.split(' '));
  assert.deepEqual(
    FILES.map((name) => readFileSync(join(uploads, name)).equals(held[FILES.indexOf(name)] ?? Buffer.of())),
    FILES.map(() => true),
  );
});

test('a drill that is stopped leaves no sandbox and no verdict', async () => {
  assert.equal(await stopped(moving, 'drill', '--store', 'main'), 'run the same command again to go on');
  assert.match((await run(0, 'drill', 'history')).stdout, /no drill yet/);
  await run(0, 'drill', '--store', 'main');
});

test('a copy that is stopped leaves no half point, and the next one fills the store', async () => {
  await stopped(moving, 'copy', '--from', 'main', '--to', 'other');
  assert.deepEqual(((await run(0, 'list', '--store', 'other', '--json')).json() as { points: unknown[] }).points, []);
  await run(0, 'copy', '--from', 'main', '--to', 'other');
  await run(0, 'verify', '--store', 'other', '--read-data');
});

test('a verify that is stopped has changed nothing', async () => {
  await stopped(moving, 'verify', '--read-data', '--store', 'main');
  await run(0, 'verify', '--read-data', '--store', 'main');
});

test('a prune that is stopped leaves every listed point whole, and the next one frees the space', async () => {
  for (const name of FILES.slice(0, 3)) writeFileSync(join(uploads, name), randomBytes(800_000));
  await run(0, 'backup', '--plan', 'nightly');
  await run(0, 'drill', '--store', 'main'); // else the older one stays for being proved
  await run(0, 'prune', '--apply', '--store', 'main', '--grace', '0s');
  await stopped(locked, 'prune', '--apply', '--store', 'main', '--grace', '0s');
  await run(0, 'verify', '--read-data', '--store', 'main');
  await run(0, 'prune', '--apply', '--store', 'main', '--grace', '0s');
  await run(0, 'verify', '--read-data', '--store', 'main');
  await run(0, 'drill', '--store', 'main');
});
