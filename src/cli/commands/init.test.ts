import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeSecrets } from './init.ts';

test('a second init does not write over the secrets of the first, and writes nothing then', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-init-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const [cache, db] = [join(dir, 'cache.url'), join(dir, 'main-db.url')];
  writeFileSync(db, 'first');
  const secrets = [cache, db].map((file) => ({ file, text: 'second' }));
  await assert.rejects(writeSecrets(secrets), { code: 'exists', hint: /move it away/ });
  assert.deepEqual([existsSync(cache), readFileSync(db, 'utf8')], [false, 'first']);
  rmSync(db);
  await writeSecrets(secrets);
  assert.equal(readFileSync(db, 'utf8'), 'second');
});
