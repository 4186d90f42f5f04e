// Small documents of ours beside the points, sealed like everything else.

import type { Records } from '../../core/storage.ts';
import { getOwn, putOwn, type Vault } from './documents.ts';

const SUFFIX = '.json';

export function sealedRecords(vault: Vault): Records {
  const keyOf = (kind: string, id: string): string => `lifeboat/${kind}/${id}${SUFFIX}`;
  return {
    put: (ctx, kind, id, value) => putOwn(ctx, vault, keyOf(kind, id), value),
    get: (ctx, kind, id) => getOwn(ctx, vault, keyOf(kind, id)),
    async *list(ctx, kind, prefix = '') {
      const folder = `lifeboat/${kind}/`;
      for await (const { key } of vault.bucket.list(ctx, folder + prefix)) {
        if (key.endsWith(SUFFIX)) yield key.slice(folder.length, -SUFFIX.length);
      }
    },
    delete: (ctx, kind, id) => vault.bucket.delete(ctx, keyOf(kind, id)),
  };
}
