import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testContext } from '../core/testing.ts';
import { type Entry, entryOf, type JournalVault } from './journal-names.ts';
import { openRange, sealRange } from './journal-ranges.ts';
import { openVault } from './journal-vault.suite.ts';

const ctx = testContext();
const FOLDER = 'own/journal/db/00000001/00/';
const WHOSE = { component: 'db', lineage: '00000001' };
const PREVIOUS = 'a'.repeat(64);
const AT = '2026-01-01T00:00:00Z';
const CONTENT = {
  from: { position: '00', at: AT },
  to: { position: '10', at: AT },
  at: AT,
  clock: { aheadMs: -12.5, errorMs: 3 },
  gap: null,
  body: Buffer.from('body'),
};

async function stored(vault: JournalVault): Promise<Entry> {
  const { entry, stored: bytes } = sealRange(vault, WHOSE, FOLDER, CONTENT, PREVIOUS);
  await vault.bucket.put(ctx, entry.key, bytes);
  assert.deepEqual(entryOf(FOLDER, entry.key, bytes.length), entry);
  return entry;
}

test('a range is taken for nothing but what it is, also where nobody knows what came before', async () => {
  const vault = openVault();
  const entry = await stored(vault);
  assert.deepEqual(await openRange(ctx, vault, WHOSE, entry, null), CONTENT);
  const refused = async (whose: typeof WHOSE, other: Partial<Entry>): Promise<void> =>
    await assert.rejects(openRange(ctx, vault, whose, { ...entry, ...other }, null), { code: 'checksum' });
  await refused({ ...WHOSE, component: 'cache' }, {});
  await refused({ ...WHOSE, lineage: '00000002' }, {});
  await refused(WHOSE, { from: '01' });
  await refused(WHOSE, { to: '11' });
  await refused(WHOSE, { isGap: true });
  await refused(WHOSE, { sha256: PREVIOUS });
  await assert.rejects(openRange(ctx, vault, WHOSE, entry, entry.sha256), { code: 'checksum' });
});

test('a range that reads wrong once is read again', async () => {
  const vault = openVault();
  const entry = await stored(vault);
  let reads = 0;
  const { bucket } = vault;
  const flaky: JournalVault = {
    ...vault,
    bucket: {
      ...bucket,
      async *get(...args) {
        for await (const chunk of bucket.get(...args)) yield ++reads === 1 ? chunk.map((byte) => byte ^ 1) : chunk;
      },
    },
  };
  assert.deepEqual(await openRange(ctx, flaky, WHOSE, entry, PREVIOUS), CONTENT);
  assert.equal(reads, 2);
});

test('what does not come back as it was sealed is not stored (fault 5)', () => {
  const vault = openVault();
  const broken = { ...vault, seal: (plain: Uint8Array) => Buffer.from(plain).fill('x', plain.length - 1) };
  assert.throws(() => sealRange(broken, WHOSE, FOLDER, CONTENT, PREVIOUS), { code: 'checksum' });
});

test('a range that is too large, or no range, is refused by name', async () => {
  const vault = openVault();
  const body = new Uint8Array(16 * 1024 * 1024 + 1);
  assert.throws(() => sealRange(vault, WHOSE, FOLDER, { ...CONTENT, body }, PREVIOUS), { code: 'value-too-large' });
  for (const name of [
    '00-10',
    'x',
    `10-00-${PREVIOUS}`,
    `0-10-${PREVIOUS}`,
    `00-1A-${PREVIOUS}`,
    `00-10-${PREVIOUS}.x`,
  ]) {
    assert.equal(entryOf(FOLDER, FOLDER + name, 1), null, name);
  }
});
