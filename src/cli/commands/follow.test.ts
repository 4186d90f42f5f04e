import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { localBucket } from '../../buckets/local/bucket.ts';
import { liveContext } from '../../core/testing.ts';
import { feedNumbers, numbersServer } from '../../engine/follow-testing.ts';
import { plainFormat } from '../../stores/plain/store.ts';
import { type FilesStack, filesStack } from '../testing.ts';

function sayFollow({ file }: FilesStack): void {
  writeFileSync(file, readFileSync(file, 'utf8').replace('kind: files,', 'kind: files, follow: true,'));
}
/** Two lineages in the store 'two', of which no point needs any. */
async function feed({ dir }: FilesStack): Promise<void> {
  const ctx = liveContext();
  await using store = await plainFormat.open(ctx, localBucket(join(dir, 'two')), { stack: 'a', layout: 'dated' });
  const server = numbersServer();
  await feedNumbers(ctx, store, 'docs', server, 7);
  server.id = 'log-2';
  await feedNumbers(ctx, store, 'docs', server, 4);
}

test('what can not be followed says so: in the configuration with its line, and when it is named', async () => {
  using stack = await filesStack();
  const named = await stack.run('follow', 'docs');
  assert.deepEqual(
    [named.exit, named.failure.split('\n')[0]],
    [2, 'docs can not be followed: files as it is configured'],
  );
  const none = await stack.run('follow');
  assert.equal(none.exit, 2);
  assert.match(none.failure, /no component says follow: true/);
  sayFollow(stack);
  for (const command of ['follow', 'backup']) {
    const { exit, failure } = await stack.run(command);
    assert.equal(exit, 10);
    assert.match(failure, /lifeboat\.yaml:6: components\.docs\.follow: files can not be followed/);
  }
});

test('a component is dropped, and its journals only when that is asked for', async () => {
  using stack = await filesStack();
  await feed(stack);
  assert.equal((await stack.run('follow', '--drop')).exit, 2);
  assert.equal((await stack.run('follow', 'docs', '--forget-journal')).exit, 2);
  const dropped = await stack.run('follow', '--drop', 'docs');
  assert.equal(dropped.text, 'docs: nothing was kept at the service');
  const forgotten = await stack.run('follow', '--drop', 'docs', '--forget-journal');
  assert.match(forgotten.text, /docs: its journal in two is gone, [1-9]/);
  assert.doesNotMatch((await stack.run('follow', '--drop', 'docs', '--forget-journal')).text, /gone, [1-9]/);
});

test('copy brings the journal of what it copies, and prune tells what of journals goes before it does', async () => {
  using stack = await filesStack('plans: { nightly: { keep: { last: 1 } } }\n');
  await feed(stack);
  const { text } = await stack.run('copy', '--from', 'two', '--to', 'one');
  assert.match(text, /journal of docs: 5 ranges copied, \d+ B/);
  assert.match((await stack.run('copy', '--from', 'two', '--to', 'one')).text, /journal of docs: 0 ranges copied/);
  for (const store of ['one', 'two']) {
    const preview = await stack.run('prune', '--store', store);
    assert.match(preview.text, /B of journals in [34] objects would go.*this is a preview/s);
    const applied = await stack.run('prune', '--store', store, '--apply');
    assert.equal(applied.exit, 0, applied.failure);
    const freed = (preview.json.stores as { journal_bytes: number }[])[0]?.journal_bytes;
    assert.equal((applied.json.stores as { journal_bytes: number }[])[0]?.journal_bytes, freed);
    assert.match(applied.text, /^freed \d.* of journals in [34] objects$/m);
  }
});

test('what is followed gets a service of its own in the schedules', async () => {
  using stack = await filesStack();
  sayFollow(stack);
  const cron = await stack.run('schedule', 'print');
  assert.match(
    cron.text,
    /^\* \* \* \* \* root .* flock -n \/run\/lifeboat-follow-a-[0-9a-f]{8}\.lock lifeboat --config \S+ follow /m,
  );
  using other = await filesStack();
  sayFollow(other);
  const lockOf = (text: string): string | undefined => /flock -n (\S+)/.exec(text)?.[1];
  assert.notEqual(
    lockOf((await other.run('schedule', 'print')).text),
    lockOf(cron.text),
    'two configurations, two locks',
  );
  assert.equal(lockOf((await stack.run('schedule', 'print')).text), lockOf(cron.text));
  const { text } = await stack.run('schedule', 'print', '--format', 'systemd');
  assert.match(
    text,
    /lifeboat-a-follow\.service.*ExecStart=\/usr\/bin\/env lifeboat --config \S+ follow\nRestart=always/s,
  );
});
