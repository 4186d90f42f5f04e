import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { parseEnvFile, withEnvFile } from './variables.ts';

test('a backup.env is read as a shell would read it', () => {
  const text = [
    '# database',
    'DB_HOST=db.internal',
    'export DB_PORT=5432',
    'DB_PASSWORD=\'p$ss "word" #1\'',
    'DB_NAME="soriano core \\"x\\" \\$1"   # a comment',
    'EMPTY=',
    'URL=https://minio.internal:9000/a?b=c # comment',
    '',
  ].join('\n');
  assert.deepEqual(parseEnvFile(text, 'backup.env'), {
    DB_HOST: 'db.internal',
    DB_PORT: '5432',
    DB_PASSWORD: 'p$ss "word" #1',
    DB_NAME: 'soriano core "x" $1',
    EMPTY: '',
    URL: 'https://minio.internal:9000/a?b=c',
  });
});

test('what only a shell could understand is refused with its line', () => {
  for (const bad of ['A=$(cat /etc/passwd)', 'A=`id`', 'A="$HOME/x"', 'A=$B', 'source other.env', 'A=a b', "A='x"]) {
    assert.throws(
      () => parseEnvFile(`OK=1\n${bad}`, 'backup.env'),
      (error) => isFailure(error, 'settings-invalid') && /backup\.env:2/.test(error.message),
      bad,
    );
  }
});

test('what is exported beats backup.env, so an exported staging host is never overruled', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-test-'));
  try {
    const file = join(dir, 'backup.env');
    writeFileSync(file, 'DB_HOST=production\nDB_NAME=soriano_core\n');
    const env = await withEnvFile({ DB_HOST: 'staging' }, file);
    assert.deepEqual([env.DB_HOST, env.DB_NAME], ['staging', 'soriano_core']);
    assert.deepEqual(await withEnvFile({ DB_HOST: 'staging' }, join(dir, 'none')), { DB_HOST: 'staging' });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
