// Both plans once more, with the AWS command line that their readers have instead of ours.

import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { REAL_AWS } from './scripts.ts';

if (spawnSync('aws', ['--version']).status === 0) {
  process.env[REAL_AWS] = 'yes';
  await import('./compat-infershield.test.ts');
  await import('./compat-ait-core.test.ts');
} else test('the plans with the AWS command line', { skip: 'there is no aws on this machine' }, () => undefined);
