import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { filesStack, refusedStore } from '../../src/cli/testing.ts';
import { expectExit, main } from './lifeboat.ts';

process.umask(0o022); // points are offered by a configuration that only its owner can write to
const stack = await filesStack('plans: { nightly: { schedule: "0 2 * * *" } }\ndrills: { weekly: {} }\n');
after(() => stack[Symbol.dispose]());

async function offered(...typed: string[]): Promise<readonly string[]> {
  const ran = await expectExit(0, ['completion', 'words', '--', ...typed], { cwd: stack.dir });
  return ran.stdout.split('\n').filter((word) => word !== '');
}

describe('completion', () => {
  const cases: { title: string; typed: string[]; offers: RegExp; not?: RegExp }[] = [
    { title: 'knows the commands', typed: [''], offers: /^init .* restore/, not: /latest/ },
    { title: 'knows the options of a command', typed: ['restore', '--'], offers: /--in-place .*--config/ },
    { title: 'knows the components', typed: ['restore', 'latest', '--only', ''], offers: /^docs$/ },
    { title: 'knows the stores, and goes on behind a comma', typed: ['list', '--store', 'one,'], offers: /^one,two$/ },
    { title: 'knows the points', typed: ['show', ''], offers: /^latest latest-proved \d{4}-\d\d-\d\d-\d{6}$/ },
    { title: 'knows drills and plans', typed: ['drill', ''], offers: /^history weekly$/ },
    { title: 'knows the choices of an option', typed: ['schedule', 'print', '--format', ''], offers: /^cron systemd$/ },
    { title: 'knows the commands of a command', typed: ['keys', ''], offers: /^list add remove passwd kit$/ },
    { title: 'knows the rules of lint', typed: ['lint', '--except', 'rpo,'], offers: / rpo,unencrypted / },
    { title: 'offers nothing where a file is meant', typed: ['drill', '--evidence', ''], offers: /^$/ },
    { title: 'says nothing without a configuration', typed: ['--config', 'none', 'list', '--store', ''], offers: /^$/ },
  ];
  for (const { title, typed, offers, not } of cases) {
    test(title, async () => {
      const words = (await offered(...typed)).join(' ');
      assert.match(words, offers);
      if (not) assert.doesNotMatch(words, not);
    });
  }

  test('never runs a command that a configuration names for a secret, and offers the points of other stores', async () => {
    const text = readFileSync(join(stack.dir, 'lifeboat.yaml'), 'utf8');
    const ran = join(stack.dir, 'ran');
    writeFileSync(
      join(stack.dir, 'exec.yaml'),
      text.replace(/\$\{file:([^}]*)\}/, (_whole, file: string) => `\${exec:touch ${ran}; cat ${file}}`),
    );
    assert.match((await offered('--config', 'exec.yaml', 'show', '')).join(' '), /^latest latest-proved \d{4}-/);
    assert.equal(existsSync(ran), false);
    await expectExit(0, ['--config', 'exec.yaml', 'list'], { cwd: stack.dir });
    assert.equal(existsSync(ran), true);
  });

  test('says nothing to a host that a configuration names, and offers the points of other stores', async () => {
    await using away = await refusedStore();
    const text = readFileSync(join(stack.dir, 'lifeboat.yaml'), 'utf8');
    writeFileSync(join(stack.dir, 'away.yaml'), text.replace('stores:\n', `stores:\n  away: ${away.yaml}\n`));
    assert.match((await offered('--config', 'away.yaml', 'show', '')).join(' '), /^latest latest-proved \d{4}-/);
    assert.equal(away.calls(), 0);
    await expectExit(3, ['--config', 'away.yaml', 'list'], { cwd: stack.dir });
    assert.notEqual(away.calls(), 0);
  });

  test('reads no secret for a configuration that others could have written', async () => {
    const file = join(stack.dir, 'shared.yaml');
    copyFileSync(join(stack.dir, 'lifeboat.yaml'), file);
    const words = async (): Promise<string> => (await offered('--config', file, 'show', '')).join(' ');
    for (const mode of [0o666, 0o664]) {
      chmodSync(file, mode);
      assert.equal(await words(), 'latest latest-proved');
    }
    chmodSync(file, 0o644);
    assert.match(await words(), /^latest latest-proved \d{4}-/);
    if (process.getuid?.() !== 0) return; // only root can give a file to somebody else
    chownSync(file, 65534, 65534);
    assert.equal(await words(), 'latest latest-proved');
  });

  test('works in bash', async () => {
    const { stdout: script } = await expectExit(0, ['completion', 'bash']);
    writeFileSync(join(stack.dir, 'completion.bash'), script);
    const line = `lifeboat() { "$NODE" --disable-warning=ExperimentalWarning "$MAIN" "$@"; }
      source ./completion.bash
      COMP_WORDS=(lifeboat backup --to t) COMP_CWORD=3
      _lifeboat; echo "\${COMPREPLY[@]}"`;
    const env = { PATH: process.env.PATH, NODE: process.execPath, MAIN: main };
    const ran = spawnSync('bash', ['--norc', '-c', line], { cwd: stack.dir, env, encoding: 'utf8' });
    assert.equal(ran.stdout, 'two\n');
  });

  test('runs nothing in bash that stands at the cursor', async () => {
    const { stdout: script } = await expectExit(0, ['completion', 'bash']);
    writeFileSync(join(stack.dir, 'completion.bash'), script);
    const line = `lifeboat() { "$NODE" --disable-warning=ExperimentalWarning "$MAIN" "$@"; }
      source ./completion.bash
      COMP_WORDS=(lifeboat list --store 'one,$(touch ran-by-bash),') COMP_CWORD=3
      _lifeboat; echo "\${COMPREPLY[@]}"`;
    const env = { PATH: process.env.PATH, NODE: process.execPath, MAIN: main };
    const ran = spawnSync('bash', ['--norc', '-c', line], { cwd: stack.dir, env, encoding: 'utf8' });
    assert.equal(ran.stdout, 'one,$(touch ran-by-bash),two\n');
    assert.equal(existsSync(join(stack.dir, 'ran-by-bash')), false);
  });
});
