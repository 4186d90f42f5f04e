import { memoryBucket } from '../buckets/memory/bucket.ts';
import { readAll } from '../core/bytes.ts';
import type { JournalVault } from './journal-names.ts';

/** A vault in memory that seals nothing, for tests of the pieces that journals are made of. */
export function openVault(): JournalVault {
  const bucket = memoryBucket();
  return {
    bucket,
    own: 'own/',
    seal: (plain) => Buffer.from(plain),
    open: (stored) => Buffer.from(stored),
    holds: (stored, plain) => Buffer.compare(stored, plain) === 0,
    async putDocument(ctx, key, value) {
      await bucket.put(ctx, key, Buffer.from(JSON.stringify(value)));
    },
    getDocument: async (ctx, key) => JSON.parse((await readAll(bucket.get(ctx, key))).toString()),
  };
}
