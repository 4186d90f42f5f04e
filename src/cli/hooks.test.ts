import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { type FilesStack, filesStack } from './testing.ts';

/** Gives the one component of the stack hooks, as YAML. */
function withHooks(stack: FilesStack, hooks: string): void {
  const text = readFileSync(stack.file, 'utf8');
  writeFileSync(stack.file, text.replace(/(docs: \{ kind: files, paths: \[.*?\]).*?\n/s, `$1, hooks: ${hooks} }\n`));
}

test('a hook is a program, a line for the shell or a request, and secrets reach it by its environment', async () => {
  using stack = await filesStack();
  const seen: string[] = [];
  await using host = createServer((asked, answer) => {
    seen.push(`${asked.method} ${asked.url} ${asked.headers.authorization}`);
    answer.end();
  });
  await new Promise<void>((done) => host.listen(0, '127.0.0.1', done));
  const { port } = host.address() as AddressInfo;
  const [log, secret] = [join(stack.dir, 'log'), join(stack.dir, 'one.password')];
  withHooks(
    stack,
    `{ before_capture: [{ run: [touch, ${log}] }, { shell: 'echo "$TOKEN $LIFEBOAT_HOOK $LIFEBOAT_HOOK_OF" >> ${log}', env: { TOKEN: "\${file:${secret}}" } }],
       after_capture: [{ http: { url: "http://127.0.0.1:${port}/resume", headers: { authorization: "Bearer \${file:${secret}}" } } }] }`,
  );
  const { exit, failure } = await stack.run('backup');
  assert.deepEqual([exit, failure], [0, '']);
  assert.equal(readFileSync(log, 'utf8'), 'hush before_capture docs\n');
  assert.deepEqual(seen, ['POST /resume Bearer hush']);
});

test('hooks of a plan are run around all of it', async () => {
  using stack = await filesStack();
  const log = join(stack.dir, 'log');
  const text = readFileSync(stack.file, 'utf8');
  const hook = (word: string): string => `[{ shell: "echo ${word} >> ${log}" }]`;
  writeFileSync(
    stack.file,
    `${text}plans:\n  all: { hooks: { before: ${hook('before')}, after: ${hook('after')} } }\n`,
  );
  assert.equal((await stack.run('backup', '--plan', 'all')).exit, 0);
  assert.equal(readFileSync(log, 'utf8'), 'before\nafter\n');
});

test('a hook that fails after the work is told, and the exit code is 3', async () => {
  using stack = await filesStack();
  withHooks(stack, `{ after_capture: [{ name: resume the queue, shell: "echo no queue >&2; exit 4" }] }`);
  const { exit, text, json } = await stack.run('backup');
  assert.equal(exit, 3);
  assert.match(text, /HOOK FAILED: docs: resume the queue: .*exited with 4: no queue/);
  assert.match(JSON.stringify(json.hooks), /"code":"hook-failed"/);
});

test('what a hook prints of its secrets when it fails is told to nobody', async () => {
  using stack = await filesStack();
  const secret = `\${file:${join(stack.dir, 'one.password')}}`;
  const env = `{ TOKEN: "${secret}", HEADER: "Bearer ${secret}!" }`;
  withHooks(stack, `{ after_capture: [{ shell: 'echo "$HEADER or $TOKEN is wrong" >&2; exit 4', env: ${env} }] }`);
  const { exit, text, json, notes } = await stack.run('backup');
  assert.equal(exit, 3);
  assert.match(text, /exited with 4: \*\*\* or \*\*\* is wrong/);
  assert.ok(!`${text}${JSON.stringify(json)}${notes}`.includes('hush'));
});

const WRONG: readonly [title: string, hooks: string, message: RegExp][] = [
  ['a secret in a command line', `{ after_capture: [{ run: [curl, "\${env:TOKEN}"] }] }`, /give it in env/],
  ['a hook that is two', `{ after_capture: [{ run: [a], shell: b }] }`, /one of run, shell, http and sql/],
  ['a hook that is none', `{ after_capture: [{ name: x }] }`, /one of run, shell, http and sql/],
  [
    'a time that is none',
    `{ after_captures: [{ shell: b }] }`,
    /after_captures: this key is not known\s+did you mean after_capture/,
  ],
  [
    'SQL to what runs none',
    `{ after_capture: [{ sql: select 1 }] }`,
    /docs: a hook with sql is for components that run/,
  ],
];
test('hooks that make no sense are refused before anything is done', async () => {
  using stack = await filesStack();
  const text = readFileSync(stack.file, 'utf8');
  for (const [title, hooks, message] of WRONG) {
    writeFileSync(stack.file, text);
    withHooks(stack, hooks);
    assert.match((await stack.run('backup')).failure, message, title);
  }
});
