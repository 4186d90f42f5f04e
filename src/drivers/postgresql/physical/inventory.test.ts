import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InventoryLine } from '../../../core/model.ts';
import { testContext } from '../../../core/testing.ts';
import { backupLines, capturedFiles, seenFiles } from './inventory.ts';

const facts = {
  start: { lsn: '0/2000028', timeline: 1 },
  end: { lsn: '0/2000100', timeline: 1 },
  tablespaces: [{ oid: '16385', location: '/srv/fast' }],
};
const unwitnessed = { witness: null, replaced: null };
const [SUM, OTHER] = ['a'.repeat(64), 'b'.repeat(64)];

interface Told {
  readonly stored: Readonly<Record<string, string>>;
  readonly listed: Readonly<Record<string, string>>;
}
const WELL: Told = {
  stored: { 'base/1': SUM, tablespace_map: SUM, 'pg_wal/1': SUM, backup_manifest: SUM },
  listed: { tablespace_map: SUM, 'base/1': SUM },
};

async function linesOf({ stored, listed }: Told, bytes = 7): Promise<InventoryLine[]> {
  await using files = seenFiles(testContext());
  for (const [path, sha256] of Object.entries(stored)) await files.add([{ path, bytes: 7, sha256, listed: false }]);
  for (const [path, sha256] of Object.entries(listed)) await files.add([{ path, bytes, sha256, listed: true }]);
  return (await Array.fromAsync(backupLines({ ...facts, ...unwitnessed }, capturedFiles(files, 'it')))).flat();
}

test('every file of a backup is told in order, and what its manifest does not have says so', async () => {
  const lines = await linesOf(WELL);
  assert.deepEqual(
    lines.map(({ kind, name, detail }) => [kind, name, detail]),
    [
      ['base-backup', 'base', facts],
      ['file', 'backup_manifest', { in_manifest: false }],
      ['file', 'base/1', undefined],
      ['file', 'pg_wal/1', { in_manifest: false }],
      ['file', 'tablespace_map', { tablespaces: ['16385'] }],
    ],
  );
  assert.ok(lines.slice(1).every(({ count, digest }) => count === 7 && digest === `sha256:${SUM}`));
});

test('what came must be what the manifest lists', async () => {
  const { stored, listed } = WELL;
  const wrong: Readonly<Record<string, Told>> = {
    'came with other bytes': { stored, listed: { ...listed, 'base/1': OTHER } },
    'did not come': { stored, listed: { ...listed, 'base/2': SUM } },
    'its manifest does not know it': { stored: { ...stored, 'base/0': SUM }, listed },
    'tablespace_map is in the backup, and its manifest does not': { stored, listed: { 'base/1': SUM } },
  };
  for (const [message, told] of Object.entries(wrong)) {
    await assert.rejects(linesOf(told), { code: 'malformed', message: new RegExp(message) });
  }
  await assert.rejects(linesOf(WELL, 8), { code: 'malformed', message: /other bytes/ });
  await using twice = seenFiles(testContext());
  const file = { path: 'base/1', bytes: 7, sha256: SUM, listed: false };
  await twice.add([file, file]);
  await assert.rejects(Array.fromAsync(backupLines({ ...facts, ...unwitnessed }, capturedFiles(twice, 'it'))), {
    code: 'malformed',
    message: /came twice/,
  });
});
