// Directories for tests, filled with some of everything, and points of them.

import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { inventoryOf } from '../../core/inventory.ts';
import type { Source } from '../../core/model.ts';
import { liveContext, memoryParts, type TestContext } from '../../core/testing.ts';
import { filesDriver } from './driver.ts';

const scratch = mkdtempSync(join(tmpdir(), 'lifeboat-files-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
let made = 0;
export function freshDir(): string {
  const dir = join(scratch, String((made += 1)));
  mkdirSync(dir);
  return dir;
}
export const asRoot = process.getuid?.() === 0;

/** Holds /app with some of everything, and the single file /hosts. */
export function filledRoot(): string {
  const root = freshDir();
  mkdirSync(join(root, 'app/conf.d/empty'), { recursive: true });
  chmodSync(join(root, 'app/conf.d'), 0o755); // whatever the umask
  writeFileSync(join(root, 'hosts'), '127.0.0.1 localhost\n', { mode: 0o640 });
  writeFileSync(join(root, 'app/main.conf'), 'workers = 4\n', { mode: 0o640 });
  writeFileSync(join(root, 'app/conf.d-disabled'), 'sorts before the files of conf.d\n');
  writeFileSync(join(root, 'app/conf.d/tls.conf'), 'certificate = here\n');
  writeFileSync(join(root, 'app/empty'), '');
  writeFileSync(join(root, 'app/large.bin'), Buffer.alloc(3 * 1024 * 1024 + 17, 'lifeboat '));
  symlinkSync('main.conf', join(root, 'app/current'));
  symlinkSync('/nowhere/at/all', join(root, 'app/broken'));
  linkSync(join(root, 'app/main.conf'), join(root, 'app/zz-same'));
  return root;
}

export async function captured(root: string, settings: object = {}): Promise<{ ctx: TestContext; source: Source }> {
  const ctx = liveContext();
  const { sink, source } = memoryParts();
  await filesDriver.open({ root, paths: ['/'], ...settings }).capture(ctx, sink);
  return { ctx, source };
}

export async function verdicts(ctx: TestContext, source: Source, root: string): Promise<string[]> {
  const actual = await filesDriver.open({ root, paths: ['/'] }).inventory(ctx);
  return (await Array.fromAsync(filesDriver.compare(ctx, inventoryOf(source), actual))).map(
    ({ verdict, detail }) => `${verdict}: ${detail}`,
  );
}
