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

test('a drill of the configuration replays until where it says; what the command line names beats it', async () => {
  using stack = await filesStack(`drills:
  log: { until: cut=2020-01-01-000000, store: one }
  past: { at: 2020-01-01T00:00:00Z }
  point: { point: 2021-01-01-000000 }
`);
  const told = async (...args: string[]): Promise<string> => (await stack.run('drill', ...args)).failure;
  assert.match(await told('log'), /2020-01-01-000000/);
  assert.match(await told('past'), /2020-01-01T00:00/);
  assert.match(await told('point'), /2021-01-01-000000/);
  for (const name of ['log', 'past', 'point']) {
    assert.deepEqual(await drilled(stack, name, '--point', 'latest'), { exit: 0, verdicts: { docs: 'pass' } });
    assert.match(await told(name, '--until', 'cut=2022-01-01-000000'), /2022-01-01-000000/);
    assert.match(await told(name, '--at', '2023-01-01T00:00:00Z'), /2023-01-01T00:00/);
    assert.match(await told(name, '--until', 'latest', '--at', 'now'), /^either --until or --at/);
    assert.match(await told(name, '--until', 'later'), /^a log is not replayed until later\n--until is 'latest'/);
  }
});
