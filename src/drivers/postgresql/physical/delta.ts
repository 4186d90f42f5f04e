// A restore over an old data directory: what is there and the same is kept, what else is there goes. Whose directory it
// is and that no server runs on it is known before anything is touched.

import { isUtf8 } from 'node:buffer';
import { type Dirent, existsSync, lstatSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readAll } from '../../../core/bytes.ts';
import { interruption } from '../../../core/context.ts';
import { Failure, systemCode } from '../../../core/errors.ts';
import { byKindAndName, inventoryWith, paired } from '../../../core/inventory.ts';
import type { Context, InventoryLine, InventoryReader, Source } from '../../../core/model.ts';
import { mapBounded } from '../../../core/parallel.ts';
import { type Sorter, sorter } from '../../../core/sorter.ts';
import { close, type Dir, openDir, within } from '../../beneath.ts';
import { attempt, explained } from '../../failures.ts';
import { type FileHasher, fileHasher } from './hash-files.ts';
import { fileLine } from './inventory.ts';
import { refuseServed } from './live-server.ts';
import { CONTROL_FILE, DATA_TREE } from './names.ts';
import { closeFile, type ExpectedFile, makeOurs, openSame, removeFile, syncDirectory } from './put-file.ts';
import { heldIn, MARK, type OpenPlace, type OpenPlaces, type Place } from './target.ts';

/** Of the control file: the number that a server has from its birth. */
const SYSTEM_BYTES = 8;
const CHARS_PER_FILE = 120;

/** 'target-not-empty', 'different' or 'blocked' where what is there is not an old state of the same server, at rest. */
export async function refuseOthers(ctx: Context, source: Source, places: readonly Place[]): Promise<void> {
  const [data] = places;
  if (!data) return;
  refuseServed(data.path);
  const control = join(data.path, CONTROL_FILE);
  if (heldIn(data.path) !== null && !existsSync(control)) {
    throw new Failure('target-not-empty', `${data.path} is not restored: it holds no data directory of PostgreSQL`, {
      hint: 'name a directory that is empty or not there yet, or move away what it holds',
    });
  }
  if (existsSync(control)) {
    const theirs = attempt(control, () => readFileSync(control)).subarray(0, SYSTEM_BYTES);
    const ours = (await readAll(source.get(ctx, DATA_TREE.parts + CONTROL_FILE))).subarray(0, SYSTEM_BYTES);
    if (!theirs.equals(ours)) {
      throw new Failure('different', `${data.path} is not restored: it is the data directory of another server`, {
        hint: 'restore into another directory, or move this one away',
      });
    }
  }
  for (const { path, oid } of places) {
    const held = oid === null ? null : heldIn(path);
    if (held === null || isLinked(data, { path, oid })) continue;
    throw new Failure('target-not-empty', `${path} is not restored: it holds ${held}, and no link leads to it`, {
      hint: `move away what it holds: ${data.path} has no tablespace there`,
    });
  }
}

function isLinked(data: Place, { path, oid }: Pick<Place, 'path' | 'oid'>): boolean {
  try {
    return realpathSync(join(data.path, 'pg_tblspc', String(oid))) === realpathSync(path);
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return false;
    throw explained(path, cause);
  }
}

/** What files there take, all together. */
export function bytesIn(path: string): number {
  let bytes = 0;
  let entries: Dirent[] = [];
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch (cause) {
    if (systemCode(cause) !== 'ENOENT') throw explained(path, cause);
  }
  for (const entry of entries) {
    const below = join(path, entry.name);
    if (entry.isDirectory()) bytes += bytesIn(below);
    else if (entry.isFile()) bytes += lstatSync(below).size;
  }
  return bytes;
}

export interface OldFiles extends AsyncDisposable {
  /** Those that are not there with the same bytes. What had their names is gone. */
  differing<T extends { readonly place: OpenPlace; readonly file: ExpectedFile }>(files: readonly T[]): Promise<T[]>;
  readonly kept: number;
  readonly warnings: readonly string[];
}

/** Nothing, where the target was empty. */
export function noOldFiles(): OldFiles {
  return { differing: async (files) => [...files], kept: 0, warnings: [], async [Symbol.asyncDispose]() {} };
}

/** Takes away what makes it startable first, and then all that the point does not have. */
export async function clearOthers(
  ctx: Context,
  open: OpenPlaces,
  { expected, directories, jobs }: { expected: InventoryReader; directories: ReadonlySet<string>; jobs: number },
): Promise<OldFiles> {
  const { all, owner } = open;
  const [data] = all;
  const global = openDir(data.root, Buffer.from('global'));
  if (global) {
    close(global);
    removeFile(data.root, CONTROL_FILE);
    syncDirectory(data.root, 'global');
  }
  const warnings: string[] = [];
  await using there = oldLines(ctx);
  for (const place of all) await sweep(ctx, { place, directories, there, warnings }, place.root, '');
  for await (const { expected: wanted, actual } of paired(ctx, expected, linesOf(there))) {
    if (wanted || !actual) continue;
    const place = all.find(({ files, oid }) => oid !== null && actual.name.startsWith(files)) ?? data;
    removeFile(place.root, actual.name.slice(place.files.length));
  }
  const hasher = fileHasher();
  let kept = 0;
  return {
    async differing(files) {
      const same = await mapBounded(files, jobs, async ({ place, file }) => {
        if (ctx.signal.aborted) throw interruption(ctx.signal);
        return await isThere(place.root, file, hasher, owner);
      });
      const left = files.filter((_, at) => !same[at]);
      kept += files.length - left.length;
      return left;
    },
    get kept() {
      return kept;
    },
    warnings,
    [Symbol.asyncDispose]: () => hasher[Symbol.asyncDispose](),
  };
}

async function isThere(
  root: Dir,
  file: ExpectedFile,
  hasher: FileHasher,
  owner: OpenPlaces['owner'],
): Promise<boolean> {
  const fd = openSame(root, file);
  if (fd !== null) {
    try {
      const { bytes, sha256 } = await hasher.sumOf(fd);
      if (bytes === file.bytes && `sha256:${sha256}` === file.digest) {
        makeOurs(fd, owner);
        return true;
      }
    } finally {
      closeFile(fd);
    }
  }
  removeFile(root, file.name);
  return false;
}

function oldLines(ctx: Context): Sorter<InventoryLine> {
  return sorter<InventoryLine>(ctx.scratch, 'the list of files', {
    order: byKindAndName,
    lineOf: (line) => JSON.stringify(line),
    itemOf: (line) => JSON.parse(line) as InventoryLine,
    charsOf: ({ name }) => name.length + CHARS_PER_FILE,
  });
}

function linesOf(there: Sorter<InventoryLine>): InventoryReader {
  return {
    async *lines() {
      for await (const batch of there.sorted()) yield* batch;
    },
  };
}

interface Sweep {
  readonly place: OpenPlace;
  /** Of all places, as files are named. */
  readonly directories: ReadonlySet<string>;
  readonly there: Sorter<InventoryLine>;
  readonly warnings: string[];
}

/** Directories that the point does not have go with all that is in them, and links, which nobody follows. */
async function sweep(ctx: Context, job: Sweep, dir: Dir, path: string): Promise<void> {
  const { place, directories, there, warnings } = job;
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const entries = readdirSync(within(dir, Buffer.from('.')), { withFileTypes: true, encoding: 'buffer' });
  const files: InventoryLine[] = [];
  for (const entry of entries) {
    const name = path + entry.name.toString('utf8');
    if (name === MARK) continue;
    const isNamed = isUtf8(entry.name);
    if (isNamed && entry.isFile()) {
      files.push(fileLine(place.files + name, 0, ''));
      continue;
    }
    const below = isNamed && directories.has(place.files + name) ? openDirectory(dir, entry) : null;
    if (!below) {
      if (place.oid === null && name === 'pg_wal') warnings.push('pg_wal was a link, and is a directory now');
      attempt(`${dir.label}/${name}`, () => rmSync(within(dir, entry.name), { recursive: true, force: true }));
      continue;
    }
    try {
      await sweep(ctx, job, below, `${name}/`);
    } finally {
      close(below);
    }
  }
  await there.add(files);
}

function openDirectory(dir: Dir, entry: Dirent<Buffer>): Dir | null {
  return entry.isDirectory() ? openDir(dir, entry.name) : null;
}

/** Of files alone. */
export function filesOf(inventory: InventoryReader): InventoryReader {
  return inventoryWith(inventory, ({ kind }) => kind === 'file');
}
