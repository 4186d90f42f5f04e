// What a person at a terminal sees and is asked, on a real one: `script` of util-linux makes it.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { lifeboat, main } from './lifeboat.ts';
import { workspace } from './workspace.ts';

const ESCAPE = '\u001b[';
const BACKSPACE = '\u007f';
const { dir, store, configure, run } = workspace('terminal');
const uploads = join(dir, 'uploads');
const skip = /util-linux/.test(spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout ?? '')
  ? false
  : 'there is no `script` of util-linux to make a terminal with';

before(async () => {
  mkdirSync(uploads);
  writeFileSync(join(uploads, 'large.bin'), randomBytes(2_000_000).toString('hex'));
  configure(config(''));
  await run(0, 'init');
  await run(0, 'backup');
});

function config(limit: string): string {
  return `stack: shop
stores: { main: ${store('store').replace('}"', `}"${limit}`)} }
components: { uploads: { kind: files, paths: [${uploads}] } }
`;
}

/** Runs the command at a terminal, where `typing` answers what is shown: its process id first. */
async function atTerminal(
  args: readonly string[],
  typing?: (shown: string, keyboard: NonNullable<ChildProcess['stdin']>) => void,
): Promise<{ code: number | null; shown: string }> {
  const line = [process.execPath, '--disable-warning=ExperimentalWarning', main, ...args]
    .map((word) => `'${word}'`)
    .join(' ');
  const child = spawn('script', ['-qec', `stty cols 100 rows 30; echo "process $$"; exec ${line}`, '/dev/null'], {
    cwd: dir,
    env: { ...process.env, TERM: 'xterm' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    typing?.(shown, child.stdin);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, shown };
}

test('a backup shows at a terminal how far it is, with bytes and rate, and clears that away', { skip }, async () => {
  rmSync(join(dir, 'store'), { recursive: true });
  // More than is on its way to a store at once, so that reading waits for it.
  writeFileSync(join(uploads, 'larger.bin'), randomBytes(128_000_000));
  configure(config(', rate_limit: 40MB'));
  await run(0, 'init');
  const { code, shown } = await atTerminal(['backup']);
  assert.equal(code, 0, shown);
  assert.ok(shown.includes(`${ESCAPE}1A`), 'the line is drawn again in its place');
  assert.match(shown, /uploads +capture.*[\d.]+ [KM]iB/);
  assert.match(shown, /[KM]iB\/s/);
  assert.match(shown.slice(shown.lastIndexOf('\u001b[0J')), /recovery point .*complete/);
  rmSync(join(uploads, 'larger.bin'));
  configure(config(''));
});

test('progress is drawn neither with --progress none nor where there is no terminal', { skip }, async () => {
  const { code, shown } = await atTerminal(['backup', '--progress', 'none']);
  assert.equal(code, 0, shown);
  assert.ok(!shown.includes(ESCAPE), shown);
  const piped = await lifeboat(['backup'], { cwd: dir });
  assert.ok(!(piped.stdout + piped.stderr).includes(ESCAPE));
});

test('at a terminal the name of what is replaced must be typed, and anything else touches nothing', {
  skip,
}, async () => {
  const file = join(uploads, 'large.bin');
  writeFileSync(file, 'newer');
  const answered = (word: string) => {
    let asked = false;
    return (shown: string, keyboard: NonNullable<ChildProcess['stdin']>): void => {
      if (asked || !/Type uploads to go on/.test(shown)) return;
      asked = true;
      keyboard.write(`${word}\r`);
    };
  };
  const refused = await atTerminal(['restore', 'latest', '--in-place'], answered('yes'));
  assert.equal(refused.code, 34, refused.shown);
  assert.match(refused.shown, /nothing was touched/);
  assert.equal(readFileSync(file, 'utf8'), 'newer');
  const done = await atTerminal(['restore', 'latest', '--in-place'], answered('uploads'));
  assert.equal(done.code, 0, done.shown);
  assert.notEqual(readFileSync(file, 'utf8'), 'newer');
});

test('Ctrl-C at a question leaves everything as it is', { skip }, async () => {
  let asked = false;
  const { code, shown } = await atTerminal(['restore', 'latest', '--in-place'], (seen, keyboard) => {
    if (asked || !/to go on/.test(seen)) return;
    asked = true;
    keyboard.write('\u0003');
  });
  assert.equal(code, 130, shown);
  assert.match(shown, /nothing was touched/);
});

test('a signal at a question leaves everything as it is, and says what to do next', { skip }, async () => {
  let asked = false;
  const { code, shown } = await atTerminal(['restore', 'latest', '--in-place'], (seen) => {
    if (asked || !/to go on/.test(seen)) return;
    asked = true;
    process.kill(Number(/^process (\d+)/.exec(seen)?.[1]), 'SIGTERM');
  });
  assert.equal(code, 130, shown);
  assert.match(shown, /stopped by SIGTERM\s+run the same command again to go on/);
});

test('init asks what is promised, takes only durations, and writes down what was answered', { skip }, async () => {
  writeFileSync(join(dir, 'compose.yml'), 'services: { cache: { image: "redis:8" } }\n');
  const answers: [asked: RegExp, typed: string][] = [
    [/What is this stack called/, '\r'],
    [/Where shall recovery points go/, '\r'],
    [/Protect redis/, '\r'],
    [/How much may be lost/, `${BACKSPACE.repeat(3)}soon\r`],
    [/a duration such as/, `${BACKSPACE.repeat(4)}1h\r`],
    [/How soon must all be back/, '2h\r'],
  ];
  const { code, shown } = await atTerminal(
    ['--config', join(dir, 'asked.yaml'), 'init', '--from', 'compose.yml'],
    (text, keyboard) => {
      const [next] = answers;
      if (!next?.[0].test(text)) return;
      answers.shift();
      keyboard.write(next[1]);
    },
  );
  assert.equal(code, 0, shown);
  assert.match(readFileSync(join(dir, 'asked.yaml'), 'utf8'), /tiers:\n {2}standard:\n {4}rpo: 1h\n {4}rto: 2h\n/);
});
