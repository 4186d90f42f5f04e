import { storeSuite } from '../store.suite.ts';
import { journalsInRealBuckets } from '../suite/real-buckets.suite.ts';
import type { StoreRig } from '../suite/rig.suite.ts';
import { createRepository } from './repository.ts';
import { resticSettings } from './settings.ts';
import { resticFormat } from './store.ts';
import { CHEAP_SCRYPT, PASSWORD } from './testing.ts';

const rig: StoreRig = {
  name: 'restic',
  format: {
    ...resticFormat,
    create: (ctx, bucket, settings) => createRepository(ctx, bucket, resticSettings.parse(settings), CHEAP_SCRYPT),
  },
  settings: (stack) => ({ stack, password: PASSWORD }),
};
storeSuite(rig);
await journalsInRealBuckets(rig);
