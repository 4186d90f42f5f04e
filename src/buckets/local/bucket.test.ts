import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { testContext } from '../../core/testing.ts';
import { bucketSuite } from '../bucket.suite.ts';
import { localBucket } from './bucket.ts';

bucketSuite('local', () => localBucket(join(mkdtempSync(join(testContext().scratch, 'b-')), 'not', 'yet')));
