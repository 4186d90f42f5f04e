// The first minutes: a configuration out of what is there, and words that the shell completes.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { workspace } from './workspace.ts';

const { dir, write, runWith } = workspace('init');

function folder(name: string): string {
  mkdirSync(join(dir, name));
  return join(dir, name);
}

test('init takes the servers of a compose file, and writes no secret of it down', async () => {
  const cwd = folder('compose');
  const compose = `services:
  db: { image: "postgres:17", environment: { POSTGRES_USER: shop, POSTGRES_PASSWORD: "\${DB_SECRET:-hush}", POSTGRES_DB: shop }, ports: ["15432:5432"] }
  cache: { image: "redis:8", ports: ["16379:6379"] }
`;
  write('compose/docker-compose.yml', compose);
  await runWith({ cwd }, 2, 'init', '--from', 'docker-compose.yml'); // there is nobody to ask
  const ran = await runWith({ cwd }, 0, 'init', '--from', 'docker-compose.yml', '--yes', '--store', './store');
  assert.match(ran.stdout, /next: set DB_SECRET, which the configuration needs, then lifeboat doctor/);
  const text = readFileSync(join(cwd, 'lifeboat.yaml'), 'utf8');
  assert.match(text, /port: 15432/);
  assert.match(text, /port: 16379/);
  assert.doesNotMatch(text, /hush/);
  assert.equal(statSync(join(cwd, 'lifeboat.password')).mode & 0o777, 0o600);
  const env = { DB_SECRET: 'hush' };
  await runWith({ cwd, env }, 0, 'config', 'check');
  await runWith({ cwd, env }, 0, 'list');
  // What is left is so: the store lies on the disk of the servers.
  await runWith({ cwd }, 0, 'lint', '--except', 'same-failure');
  assert.match((await runWith({ cwd }, 3, 'lint')).stdout, /^2 findings/m);
});

test('init takes the servers of the environment, makes the store, and says what is next', async () => {
  const cwd = folder('environment');
  const env = { DATABASE_URL: 'postgresql://shop:hush@localhost:1/shop', REDIS_URL: 'redis://localhost:1' };
  const ran = await runWith({ cwd, env }, 0, 'init', '--from-env', '--yes', '--stack', 'shop');
  assert.match(ran.stdout, /next: lifeboat doctor/);
  assert.doesNotMatch(ran.stdout + readFileSync(join(cwd, 'lifeboat.yaml'), 'utf8'), /hush/);
  await runWith({ cwd, env }, 2, 'init', '--from-env', '--yes'); // it would replace a configuration
  const again = await runWith({ cwd, env }, 0, 'init');
  assert.match(again.stdout, /already there/);
  assert.match((await runWith({ cwd, env }, 0, 'list')).stdout, /no recovery points yet/);
});

test('init without anything to protect says how to name it', async () => {
  const ran = await runWith({ cwd: folder('nothing') }, 10, 'init', '--from-env', '--yes');
  assert.match(ran.stderr, /DATABASE_URL/);
});

const SOURCED = [
  { shell: 'bash', check: ['--norc', '-c', 'source ./completion && complete -p lifeboat'] },
  { shell: 'zsh', check: ['-f', '-c', 'autoload -U compinit && compinit -u -D; source ./completion'] },
  { shell: 'fish', check: ['--no-config', '-c', 'source ./completion; complete -c lifeboat'] },
];

for (const { shell, check } of SOURCED) {
  const there = spawnSync(shell, ['--version']).status === 0;
  test(`${shell} takes the completion that is printed for it`, {
    skip: there ? false : `no ${shell} here`,
  }, async () => {
    const script = (await runWith({ cwd: dir }, 0, 'completion', shell)).stdout;
    write('completion', script);
    const ran = spawnSync(shell, check, { cwd: dir, encoding: 'utf8' });
    assert.equal(ran.status, 0, ran.stderr);
    assert.equal(ran.stderr, '');
  });
}

test('bash completes the commands that there are', async () => {
  write('completion', (await runWith({ cwd: dir }, 0, 'completion', 'bash')).stdout);
  const lines = [
    'source ./completion',
    'name=$(complete -p lifeboat | sed -E "s/.*-F ([^ ]+).*/\\1/")',
    'COMP_WORDS=(lifeboat re) COMP_CWORD=1 COMP_LINE="lifeboat re" COMP_POINT=11',
    '"$name" lifeboat re lifeboat',
    'declare -p COMPREPLY',
  ];
  const PATH = `${join(import.meta.dirname, '../../bin')}:${process.env.PATH}`;
  const ran = spawnSync('bash', ['--norc', '-c', lines.join('\n')], {
    cwd: dir,
    encoding: 'utf8',
    env: { ...process.env, PATH },
  });
  assert.match(ran.stdout, /"restore ?"/, ran.stderr);
  assert.doesNotMatch(ran.stdout, /"backup/);
});
