import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { type FilesStack, filesStack } from '../testing.ts';

interface Drilled {
  readonly exit: number;
  readonly verdicts: Readonly<Record<string, string>>;
}
async function drilled(stack: FilesStack, ...args: string[]): Promise<Drilled> {
  const { exit, json } = await stack.run('drill', '--store', 'one', ...args);
  const { components } = json.evidence as { components: readonly { name: string; verdict: string }[] };
  return { exit, verdicts: Object.fromEntries(components.map(({ name, verdict }) => [name, verdict])) };
}

test('a drill misses what is configured and backed up by nobody, and not what another plan backs up', async () => {
  using stack = await filesStack();
  const docs = readFileSync(stack.file, 'utf8');
  const more = `  notes: { kind: files, paths: [${stack.dir}/data] }\n`;
  writeFileSync(stack.file, docs + more);
  assert.deepEqual(await drilled(stack), { exit: 3, verdicts: { docs: 'pass', notes: 'unknown' } });
  assert.deepEqual(await drilled(stack, '--only', 'docs'), { exit: 0, verdicts: { docs: 'pass' } });
  const nightly = 'plans:\n  nightly: { components: [docs] }\n';
  writeFileSync(stack.file, docs + more + nightly);
  assert.equal((await stack.run('backup', '--plan', 'nightly')).exit, 0);
  assert.deepEqual(await drilled(stack), { exit: 3, verdicts: { docs: 'pass', notes: 'unknown' } });
  writeFileSync(stack.file, `${docs}${more}${nightly}  hourly: { components: [notes] }\n`);
  assert.deepEqual(await drilled(stack), { exit: 0, verdicts: { docs: 'pass' } });
});
