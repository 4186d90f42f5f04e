// Stock restic, in the versions that this machine has, for tests.

import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { faultyBucket } from '../../buckets/faulty.ts';
import { localBucket } from '../../buckets/local/bucket.ts';
import type { Bucket } from '../../core/storage.ts';
import { liveContext } from '../../core/testing.ts';
import { noise, P1, P2, save } from '../suite/rig.suite.ts';
import { createStore, openStore, PASSWORD } from './testing.ts';

const ctx = liveContext();

export interface Program {
  readonly name: string;
  readonly path: string;
  readonly missing: string | false;
}
export interface Place extends AsyncDisposable {
  readonly dir: string;
  readonly repo: string;
  readonly bucket: Bucket;
  restic(...args: string[]): Promise<string>;
}

/** Stock restic sees what is left by a death at the first change, then `step` changes later, to the last. */
export async function diesAnywhere(program: Program, step: number): Promise<void> {
  for (let deaths = 1; ; deaths += step) {
    await using place = await madePlace(program);
    await createStore(ctx, place.bucket);
    {
      await using before = await openStore(ctx, place.bucket);
      await save(ctx, before, P1, { db: { one: noise(1, 90_000), shared: noise(5, 30_000) } });
    }
    const dying = faultyBucket(place.bucket, { changesMax: deaths });
    const died = await life(dying).then(
      () => false,
      (error: unknown) => {
        if (dying.changes() <= deaths) throw error;
        return true; // as it should
      },
    );
    await place.restic('check', '--read-data', '--no-lock');
    if (!died) return;
  }
}
async function life(bucket: Bucket): Promise<void> {
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P2, { db: { two: noise(2, 90_000), shared: noise(5, 30_000) } });
  await store.remove(ctx, [P1]);
  for (let i = 0; i < 2; i++) await store.reclaim(ctx, { apply: true, graceMs: 0 });
}

export async function stockFiles({ dir }: Place): Promise<string> {
  const source = join(dir, 'source');
  await mkdir(join(source, 'folder'), { recursive: true });
  await writeFile(join(source, 'big'), noise(9, 2_000_000));
  await writeFile(join(source, 'folder/small'), 'small');
  await writeFile(join(source, 'empty'), '');
  await symlink('big', join(source, 'link')).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  return source;
}

export async function madePlace(program: Program): Promise<Place> {
  const dir = await mkdtemp(join(tmpdir(), 'lifeboat-stock-'));
  const repo = join(dir, 'repo');
  await mkdir(repo);
  return {
    dir,
    repo,
    bucket: localBucket(repo),
    restic: (...args) => stock(program, ['-r', repo, ...args]),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

export async function stock(
  program: Program,
  args: readonly string[],
  password = PASSWORD,
  more: Readonly<Record<string, string>> = {},
): Promise<string> {
  const env = {
    ...process.env,
    ...more,
    RESTIC_PASSWORD: password,
    RESTIC_PASSWORD2: password,
    RESTIC_FROM_PASSWORD: password,
  };
  const { stdout } = await promisify(execFile)(program.path, ['--no-cache', ...args], { env, maxBuffer: 2 ** 26 });
  return stdout;
}

/** The newest first. */
export async function stockPrograms(): Promise<[Program, ...Program[]]> {
  const found: Program[] = [];
  const folders = (process.env.PATH ?? '').split(delimiter);
  const candidates = ['restic', 'restic019'].flatMap((name) => folders.map((folder) => join(folder, name)));
  for (const path of [process.env.RESTIC, ...candidates]) {
    if (!path || !(await isThere(path))) continue;
    const name = (await promisify(execFile)(path, ['version'])).stdout.split(' ').slice(0, 2).join(' ');
    if (!found.some((other) => other.name === name)) found.push({ name, path, missing: false });
  }
  const [newest, ...older] = found.sort((a, b) => b.name.localeCompare(a.name, 'en', { numeric: true }));
  if (newest) return [newest, ...older];
  const missing = process.env.REQUIRE_SERVERS === 'all' ? false : 'there is no restic in PATH, and $RESTIC names none';
  return [{ name: 'stock restic', path: 'restic', missing }];
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
