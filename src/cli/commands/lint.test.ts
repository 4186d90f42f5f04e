import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { filesStack, refusedStore } from '../testing.ts';

const stack = await filesStack('tiers: { all: { rto: 4h, rpo: 25h } }\n');
after(() => stack[Symbol.dispose]());
const bare = readFileSync(stack.file, 'utf8').replace('kind: files,', 'kind: files, tier: all,');
const plans = 'plans: { nightly: { schedule: "0 2 * * *", to: [one], keep: { within: 30d } } }\n';
const drills = 'drills: { weekly: { schedule: "0 4 * * 0" } }\n';

interface Json {
  readonly findings: readonly { readonly rule: string; readonly at: string; readonly line: number }[];
  readonly unjudged: readonly { readonly rule: string }[];
  readonly stores_read: readonly { readonly name: string; readonly error?: string }[];
}
async function linted(text: string, ...args: string[]) {
  writeFileSync(stack.file, text);
  const ran = await stack.run('lint', ...args);
  return { ...ran, found: ran.json as Readonly<Record<keyof Json, unknown>> as Json };
}

test('findings are told with their lines and changes, and end with 3; without any it is 0', async () => {
  const { exit, text, found } = await linted(bare + plans + drills);
  assert.equal(exit, 3);
  const told = found.findings.map(({ rule, at }) => `${rule} ${at}`);
  assert.deepEqual(told, ['same-failure components.docs', 'unencrypted stores.two.format']);
  const line = bare.split('\n').findIndex((each) => each.includes('docs:')) + 1;
  assert.equal(found.findings[0]?.line, line);
  assert.ok(text.startsWith(`${stack.file}:${line}: same-failure: components.docs: all its points lie in one (`), text);
  assert.match(text, /\n {2}smallest change: add a store at another place, .*\n/);
  assert.match(text, /2 findings from .* and earlier runs in one, two$/m);
  assert.equal((await linted(bare + plans + drills, '--except', 'same-failure,unencrypted')).exit, 0);
});

test('a rule that there is not is a mistake', async () => {
  const { exit, failure } = await linted(bare, '--except', 'unencrypte');
  assert.equal(exit, 2);
  assert.match(failure, /there is no rule unencrypte\ndid you mean unencrypted\?/);
});

test('a recovery that a drill has measured is held against what is promised', async () => {
  const hasty = (bare + plans + drills).replace('rto: 4h', 'rto: 1ms');
  const before = await linted(hasty);
  assert.ok(before.found.unjudged.some(({ rule }) => rule === 'rto'));
  assert.equal((await stack.run('drill', '--store', 'one')).exit, 3); // within a millisecond it is not
  const { found } = await linted(hasty);
  assert.ok(found.findings.some(({ rule, at }) => rule === 'rto' && at === 'components.docs'));
  assert.ok(!found.unjudged.some(({ rule }) => rule === 'rto'));
});

test('nothing elsewhere is asked: no store, no service, no command that has a secret', async () => {
  await using away = await refusedStore();
  const ran = join(stack.dir, 'ran');
  const { port } = new URL(/http:[^"]*/.exec(away.yaml)?.[0] ?? '');
  const text = bare
    .replace(/\$\{file:([^}]*)\}/, (_whole, file: string) => `\${exec:touch ${ran}; cat ${file}}`)
    .replace('stores:\n', `stores:\n  away: ${away.yaml}\n`)
    .replace('components:\n', `components:\n  db: { kind: postgresql, host: 127.0.0.1, port: ${port} }\n`);
  const { exit, found } = await linted(text + plans);
  assert.equal(exit, 3);
  assert.deepEqual([away.calls(), existsSync(ran)], [0, false]);
  assert.deepEqual(found.stores_read, [{ name: 'two' }]);
});

test('a store on this machine that can not be read is told, and stops nothing', async () => {
  const wrong = bare.replace(/\$\{file:[^}]*\}/, 'hushed');
  const { found, text } = await linted(wrong + plans);
  assert.match(found.stores_read.find(({ name }) => name === 'one')?.error ?? '', /password/);
  assert.match(text, /store one was not read: .*password/);
  assert.ok(found.findings.some(({ rule }) => rule === 'clear-secret'));
  assert.doesNotMatch(text, /hushed/);
});
