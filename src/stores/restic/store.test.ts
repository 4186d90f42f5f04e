import { storeSuite } from '../store.suite.ts';
import { createRepository } from './repository.ts';
import { resticSettings } from './settings.ts';
import { openResticStore, resticFormat } from './store.ts';

/** Guessing a password may be cheap here. */
const CHEAP = { N: 2, r: 1, p: 1 };

storeSuite({
  name: 'restic',
  format: {
    ...resticFormat,
    create: (ctx, bucket, settings) => createRepository(ctx, bucket, resticSettings.parse(settings), CHEAP),
    open: (ctx, bucket, settings) => openResticStore(ctx, bucket, settings, { workers: 1 }),
  },
  settings: (stack) => ({ stack, password: 'horse' }),
});
