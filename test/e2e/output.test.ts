import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { filesStack } from '../../src/cli/testing.ts';
import { expectExit } from './lifeboat.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

test('damage is told in one JSON document, findings and failure together', async () => {
  using stack = await filesStack();
  rmSync(join(stack.dir, 'one', 'data'), { recursive: true });
  const ran = await expectExit(13, ['verify', '--json', '--store', 'one'], { cwd: stack.dir });
  const { error, stores } = ran.json() as { error: { code: string }; stores: { verdict: string }[] };
  assert.deepEqual([error.code, stores[0]?.verdict], ['checksum', 'fail']);
});

test('a reader that has seen enough leaves nothing in disorder', async () => {
  using stack = await filesStack();
  const script = `mkdir "$TMPDIR"; for command in list 'extract --from docs --path a.txt' 'no-such-command'; do
    "$NODE" --disable-warning=ExperimentalWarning "$MAIN" $command 2>&1 | true
    echo "\${PIPESTATUS[0]}"
  done; ls "$TMPDIR"`;
  const env = { PATH: process.env.PATH, TMPDIR: join(stack.dir, 'tmp'), NODE: process.execPath, MAIN: main };
  const ran = spawnSync('bash', ['--norc', '-c', script], { cwd: stack.dir, env, encoding: 'utf8', stdio: 'pipe' });
  assert.equal(ran.stdout, '0\n0\n2\n');
});

test('what a name holds is not obeyed where JSON is asked for, and not in the trace of a defect', async () => {
  using stack = await filesStack();
  rmSync(join(stack.dir, 'data', 'a.txt'));
  writeFileSync(join(stack.dir, 'data', 'evil\u009b2J'), 'a');
  const refused = await expectExit(12, ['restore', 'latest', '--json'], { cwd: stack.dir });
  const { error } = refused.json() as { error: { message: string } };
  assert.ok(error.message.includes('evil\u009b2J'));
  const nowhere = join(stack.dir, 'evil\u001b[2J');
  const failed = await expectExit(1, ['list'], { cwd: stack.dir, env: { TMPDIR: nowhere } });
  assert.match(failed.stderr, /^Error: ENOENT/m);
  const text = [refused, failed].map(({ stdout, stderr }) => stdout + stderr).join();
  assert.ok(!text.includes('\u001b') && !text.includes('\u009b'), text);
});

test('what a name holds is shown and not obeyed, in answers, remarks and failures', async () => {
  using stack = await filesStack();
  rmSync(join(stack.dir, 'data', 'a.txt'));
  writeFileSync(join(stack.dir, 'data', 'evil\u001b[2J'), 'a');
  const ran = [
    await expectExit(0, ['doctor'], { cwd: stack.dir }),
    await expectExit(12, ['restore', 'latest'], { cwd: stack.dir }),
    await expectExit(2, ['backup', 'evil\u001b[2J'], { cwd: stack.dir }),
  ].map(({ stdout, stderr }) => stdout + stderr);
  for (const text of ran) {
    assert.ok(text.includes('evil\\u001b[2J'), text);
    assert.ok(!text.includes('\u001b'));
  }
});
