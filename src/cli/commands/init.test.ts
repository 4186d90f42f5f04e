import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { testContext } from '../../core/testing.ts';
import { detect, writeSecrets } from './init.ts';

test('what stands in .env beside a compose file is known, and the environment comes before it', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-init-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const from = join(dir, 'compose.yml');
  const environment = `{ POSTGRES_USER: "\${DB_USER}", POSTGRES_DB: "\${DB_NAME}", POSTGRES_PASSWORD: "\${DB_SECRET}" }`;
  writeFileSync(from, `services: { db: { image: postgres, environment: ${environment} } }`);
  writeFileSync(join(dir, '.env'), 'DB_USER=shop\nDB_NAME=of-file\nDB_SECRET=hush\n');
  const [db] = await detect(testContext({ env: { DB_NAME: 'of-shell' } }), { from });
  assert.deepEqual([db?.settings.user, db?.settings.databases], ['shop', ['of-shell']]);
  assert.equal(db?.settings.password, `\${env:DB_SECRET}`);
  rmSync(join(dir, '.env'));
  const [bare] = await detect(testContext({ env: {} }), { from });
  assert.equal(bare?.settings.user, `\${env:DB_USER}`);
});

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
