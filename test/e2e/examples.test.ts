import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { test } from 'node:test';
import { expectExit } from './lifeboat.ts';

test('every example is a right configuration', async () => {
  const files = globSync('examples/*/lifeboat.yaml');
  assert.notEqual(files.length, 0);
  for (const file of files) await expectExit(0, ['config', 'check', '--config', file]);
});

/** Configurations of plans as they were written, with what is wrong in them. */
const MISTAKES: Readonly<Record<string, readonly string[]>> = {
  // A backup each night loses a day and what it takes; four tests a year find damage when all else is gone; the
  // runbook restores a folder of ten o'clock, and Loki never; an alert waits for a metric that no script emits.
  infershield: [
    'rpo components.postgresql',
    'rpo components.redis',
    'no-drill plans.daily',
    'off-grid drills.deletion.point',
    'keep-beyond-drills drills.quarterly.schedule',
    'unknown-metric alerts.rules',
    'no-tier components.loki',
  ],
  // Fifteen minutes by dumps every six hours, an hour by a nightly mirror, four hours every four hours; a message bus
  // that nobody backs up; tests that never read the copies in S3, that are rarer than points grow old, and on a first
  // Monday that cron does not have; a file of eight o'clock between six and twelve; "all backups encrypted" on a disk.
  'ait-core': [
    'not-captured components.coordination',
    'not-captured components.events',
    'rpo components.main-db',
    'rpo components.cache',
    'rpo components.objects',
    'rpo components.search-s3',
    'drill-apart drills.quarterly',
    'drill-only-here drills.monthly',
    'drill-only-here drills.quarterly',
    'off-grid drills.deletion.point',
    'keep-beyond-drills drills.quarterly.schedule',
    'either-day drills.monthly.schedule',
    'snapshot-only components.search.method',
    'unencrypted stores.local.format',
    'no-tier components.coordination',
    'no-tier components.events',
  ],
};

test('lint finds the mistakes of the two plans, and none in the other examples', async () => {
  const files = globSync('examples/*/lifeboat.yaml');
  const names = files.map((file) => basename(dirname(file)));
  assert.deepEqual(
    Object.keys(MISTAKES).filter((name) => !names.includes(name)),
    [],
  );
  for (const file of files) {
    const expected = MISTAKES[basename(dirname(file))] ?? [];
    const ran = await expectExit(expected.length === 0 ? 0 : 3, ['lint', '--json', '--config', file]);
    const { findings } = ran.json() as { readonly findings: readonly { readonly rule: string; readonly at: string }[] };
    assert.deepEqual(
      findings.map(({ rule, at }) => `${rule} ${at}`),
      expected,
      file,
    );
  }
});
