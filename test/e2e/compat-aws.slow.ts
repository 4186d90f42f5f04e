// Both plans once more, with the AWS command line that their readers have instead of ours.

import { test } from 'node:test';
import { missingTools } from '../servers/need.ts';
import { REAL_AWS } from './scripts.ts';

const skip = missingTools('aws');
if (skip === false) {
  process.env[REAL_AWS] = 'yes';
  await import('./compat-infershield.test.ts');
  await import('./compat-ait-core.test.ts');
} else test('the plans with the AWS command line', { skip }, () => undefined);
