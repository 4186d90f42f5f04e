import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { liveContext } from '../../core/testing.ts';
import { parseConfig } from '../config/load.ts';
import { compatPlan } from './plans.ts';
import { SERVICES } from './services.ts';
import { createMissing, importInto } from './stores.ts';

test('of old backups only the newest is read, also where a service has no folder', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-compat-stores-'));
  try {
    mkdirSync(join(dir, 'postgres'));
    const dump = gzipSync('-- PostgreSQL database dump\n\n--\n-- PostgreSQL database dump complete\n--\n');
    for (const day of ['26', '27', '28'])
      writeFileSync(join(dir, `postgres/postgres_db_202601${day}_120000.sql.gz`), dump);
    const ctx = liveContext();
    const { config: text, targets } = compatPlan('ait-core', { BACKUP_DIR: dir }, { services: SERVICES });
    const config = await parseConfig(ctx, JSON.stringify(text), 'the test');
    await createMissing(ctx, config);
    const until = targets.map(({ component }) => component);
    const adopted = await importInto(ctx, config, { timeZone: 'UTC', plan: 'full', until });
    assert.deepEqual(
      adopted.map(({ id, findings }) => [id, findings]),
      [['2026-01-28-120000', []]],
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
