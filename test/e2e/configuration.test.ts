// Everything that can be wrong with a configuration, one by one: exit 10, where it is, and what was probably meant.

import assert from 'node:assert/strict';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { filesStack } from '../../src/cli/testing.ts';

const stack = await filesStack('plans:\n  nightly: { to: [one], keep: { last: 7 } }\n');
after(() => stack[Symbol.dispose]());
const right = readFileSync(stack.file, 'utf8');
const lineOf = (text: string, words: string): number => text.split('\n').findIndex((line) => line.includes(words)) + 1;

interface Case {
  readonly title: string;
  readonly replace: string;
  readonly by: string;
  /** A word of the line that the failure must name. */
  readonly at: string;
  readonly message: RegExp;
  readonly hint?: RegExp;
}
const CASES: readonly Case[] = [
  {
    title: 'YAML that is none shows its line',
    replace: 'stack: a',
    by: 'stack: [a',
    at: 'stores:',
    message: /\n {2}2 \| stores:/,
  },
  {
    title: 'an unknown key names the nearest known one',
    replace: 'kind: files',
    by: 'kind: files, restore_atfer: []',
    at: 'docs:',
    message: /components\.docs\.restore_atfer: this key is not known/,
    hint: /did you mean restore_after\?/,
  },
  {
    title: 'a wrong type says what is right',
    replace: 'last: 7',
    by: 'last: many',
    at: 'nightly:',
    message: /: plans\.nightly\.keep\.last: expected number, received string$/m,
  },
  {
    title: 'a wrong type where several are right names them all',
    replace: 'to: [one]',
    by: 'to: [one], components: 7',
    at: 'nightly:',
    message: /: plans\.nightly\.components: expected "all", or expected array, received number$/m,
  },
  {
    title: 'an unknown key of a value with several forms names the nearest known one, too',
    replace: 'last: 7',
    by: 'lsat: 7',
    at: 'nightly:',
    message: /: plans\.nightly\.keep\.lsat: this key is not known/,
    hint: /did you mean last\?/,
  },
  {
    title: 'two components of one name are told apart from one',
    replace: 'components:\n',
    by: 'components:\n  docs: { kind: files, paths: [/srv] }\n',
    at: `docs: { kind: files, paths: [${stack.dir}`,
    message: /two entries have this name/,
  },
  {
    title: 'a plan that names no component of ours names the nearest',
    replace: 'to: [one]',
    by: 'to: [one], components: [dosc]',
    at: 'nightly:',
    message: /there is no component dosc/,
    hint: /did you mean docs\?/,
  },
  {
    title: 'a plan of no component is none',
    replace: 'to: [one]',
    by: 'to: [one], components: []',
    at: 'nightly:',
    message: /plans\.nightly\.components/,
  },
  {
    title: "a store in another store's folder would be pruned as rubbish",
    replace: '/two }',
    by: '/one/two }',
    at: 'two:',
    message: /lies within store one/,
    hint: /a folder of its own/,
  },
];

for (const { title, replace, by, at, message, hint } of CASES) {
  test(title, async () => {
    const text = right.replace(replace, by);
    assert.notEqual(text, right);
    writeFileSync(stack.file, text);
    for (const command of ['list', 'backup']) {
      const { exit, json, failure } = await stack.run(command);
      assert.equal(exit, 10, failure);
      assert.equal((json.error as { code: string }).code, 'settings-invalid');
      assert.ok(failure.startsWith(`${stack.file}:${lineOf(text, at)}:`), failure);
      assert.match(failure, message);
      if (hint) assert.match(failure, hint);
    }
  });
}

test("a store in another store's folder is found behind a symbolic link, too", async () => {
  symlinkSync(join(stack.dir, 'one'), join(stack.dir, 'link'));
  for (const [folder, message] of [
    ['link/two/deep', /lies within store one/],
    ['link', /is the same place as store two/],
  ] as const) {
    writeFileSync(stack.file, right.replace('/two }', `/${folder} }`));
    const { exit, failure } = await stack.run('list');
    assert.equal(exit, 10, failure);
    assert.match(failure, message);
  }
});

test('a variable that is not defined is missed by what needs it only', async () => {
  writeFileSync(stack.file, right.replace(/\$\{file:[^}]*\}/, `\${env:LIFEBOAT_TEST_UNSET}`));
  const { exit, failure } = await stack.run('list', '--store', 'one');
  assert.equal(exit, 10);
  assert.match(failure, /^stores\.one\.password: the variable LIFEBOAT_TEST_UNSET is not set\nexport LIFEBOAT/);
  assert.equal((await stack.run('list', '--store', 'two')).exit, 0);
});

test('a file that is not there is named, with what to do', async () => {
  rmSync(stack.file);
  const { exit, failure } = await stack.run('list');
  assert.equal(exit, 10);
  assert.equal(
    failure,
    `there is no configuration at ${stack.file}\nrun lifeboat init, or name the file with --config`,
  );
});
