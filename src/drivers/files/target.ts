// What a restore finds at its target: data that it must not touch, space, and what earlier restores left.

import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { Failure, systemCode } from '../../core/errors.ts';
import { close, type Dir, labelOf, openRoot, pathOf, within } from '../beneath.ts';
import { attempt, explained } from '../failures.ts';
import { baseOf, encode, parentOf } from './names.ts';
import type { FilesSettings } from './settings.ts';
import { stepsFrom } from './steps.ts';
import { INCOMPLETE_NAME, locate, REPLACED_PREFIX } from './walk.ts';

const INCOMPLETE_TEXT = 'Lifeboat has not finished restoring this directory. It removes this file when it has.\n';

/** The first thing that a restore would have to overwrite; null when there are empty directories at most. */
export function holdsData(settings: FilesSettings): string | null {
  for (const path of settings.paths) {
    const found = firstFile(locate(settings, encode(Buffer.from(path))));
    if (found?.endsWith(`/${INCOMPLETE_NAME}`)) return `what an unfinished restore left in ${dirname(found)}`;
    if (found) return `${found} and perhaps more`;
  }
  return null;
}

function firstFile(path: Buffer): string | null {
  try {
    if (!lstatSync(path).isDirectory()) return path.toString();
    const entries = readdirSync(path, { withFileTypes: true, encoding: 'buffer' });
    for (const { name } of entries) {
      if (name.toString().startsWith(REPLACED_PREFIX)) continue;
      const found = firstFile(Buffer.concat([path, Buffer.from('/'), name]));
      if (found) return found;
    }
    return null;
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null;
    throw explained(path.toString(), cause);
  }
}

export interface Need {
  bytes: number;
  files: number;
}

/** Before anything is written: does it fit? Paths may lie on several file systems. */
export function checkSpace(settings: FilesSettings, needs: ReadonlyMap<string, Need>): void {
  const disks = new Map<bigint, Need & { path: string }>();
  for (const [path, need] of needs) {
    let place = locate(settings, path).toString();
    while (!existsSync(place)) place = dirname(place);
    const { dev } = statSync(place, { bigint: true });
    const disk = disks.get(dev) ?? { bytes: 0, files: 0, path: place };
    disks.set(dev, { ...disk, bytes: disk.bytes + need.bytes, files: disk.files + need.files });
  }
  for (const { path, bytes, files } of disks.values()) {
    const disk = statfsSync(path);
    const free = disk.bavail * disk.bsize;
    if (bytes > free) throw new Failure('no-space', `${path} has ${free} bytes free, and ${bytes} are to be restored`);
    // Some file systems make inodes as they need them, and tell none.
    if (disk.files > 0 && files > disk.ffree) {
      throw new Failure('no-space', `${path} has ${disk.ffree} inodes free, and ${files} files are to be restored`);
    }
  }
}

/** Moves what lies at the paths aside, within the same directory, where `dropAside` finds it. */
export function setAside(root: Dir, settings: FilesSettings, id: string): void {
  refuseMounts(root, settings);
  const aside = `${REPLACED_PREFIX}${id}`;
  for (const { dir, base } of placesOf(root, settings)) {
    if (base) {
      const path = within(dir, base);
      const name = Buffer.from(`${aside}-${base}`);
      if (existsSync(path)) attempt(labelOf(dir, base), () => renameSync(path, within(dir, name)));
      continue;
    }
    const old = namesIn(dir).filter((name) => !name.toString().startsWith(REPLACED_PREFIX));
    if (old.length === 0) continue;
    attempt(labelOf(dir, Buffer.from(aside)), () => mkdirSync(within(dir, Buffer.from(aside)), 0o700));
    for (const name of old) {
      const to = within(dir, Buffer.concat([Buffer.from(`${aside}/`), name]));
      attempt(labelOf(dir, name), () => renameSync(within(dir, name), to));
    }
  }
}

/**
 * A mount can't be moved by itself. Found on the way it would leave one half of the data here and the other there;
 * further below it would be moved along, and be emptied with what is dropped.
 */
function refuseMounts(root: Dir, settings: FilesSettings): void {
  for (const { dir, base } of placesOf(root, settings)) {
    const place = pathOf(dir);
    refuseMount(base ? below(place, base) : place, base !== null, "what it holds can't be set aside");
  }
}

function refuseMount(path: string, andItself: boolean, why: string): void {
  const prefix = below(path, Buffer.of());
  const mount = mountPoints().find((each) => (each === path ? andItself : each.startsWith(prefix)));
  if (mount === undefined) return;
  throw new Failure('blocked', `${Buffer.from(mount, 'latin1')} is a mount: ${why}`, {
    hint: 'unmount it, or configure paths that hold no mount; a path may be a mount itself',
  });
}

function below(place: string, name: Buffer): string {
  return `${place === '/' ? '' : place}/${name.toString('latin1')}`;
}

/** Paths as bytes, each a character; the kernel writes some of them as \\ooo. */
function mountPoints(): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'latin1').split('\n');
  const plain = (path: string): string =>
    path.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)));
  return lines.map((line) => plain(line.split(' ')[4] ?? ''));
}

/** Removes what `setAside` kept; answers where it lay. What is mounted in there by now belongs to somebody else. */
export function dropAside(settings: FilesSettings): string[] {
  const root = openRoot(settings.root);
  const dropped: string[] = [];
  try {
    for (const { dir, base } of placesOf(root, settings)) {
      for (const name of namesIn(dir)) {
        const text = name.toString();
        if (!text.startsWith(REPLACED_PREFIX) || (base && !text.endsWith(`-${base}`))) continue;
        refuseMount(below(pathOf(dir), name), true, 'what it holds is not removed');
        attempt(labelOf(dir, name), () => rmSync(within(dir, name), { recursive: true, force: true }));
        dropped.push(labelOf(dir, name));
      }
    }
  } finally {
    close(root);
  }
  return dropped;
}

/** A restored directory is marked until it is whole, so that nobody takes half of it for all. */
export function mark(dir: Dir): void {
  const name = Buffer.from(INCOMPLETE_NAME);
  attempt(labelOf(dir, name), () => writeFileSync(within(dir, name), INCOMPLETE_TEXT, { flag: 'wx', mode: 0o644 }));
}
export function unmark(dir: Dir): void {
  const name = Buffer.from(INCOMPLETE_NAME);
  attempt(labelOf(dir, name), () => rmSync(within(dir, name), { force: true }));
}

/** The configured paths as they lie there: a directory itself, or the place of a file. Missing ones are left out. */
function* placesOf(root: Dir, settings: FilesSettings): Iterable<{ dir: Dir; base: Buffer | null }> {
  const steps = stepsFrom(root, {});
  try {
    for (const path of settings.paths.map((each) => encode(Buffer.from(each)))) {
      const parent = path === '/' ? null : steps.to(parentOf(path));
      if (path !== '/' && !parent) continue;
      const isDir = parent === null || isDirectory(parent.dir, baseOf(path));
      const dir = isDir ? steps.to(path === '/' ? path : `${path}/`)?.dir : parent.dir;
      if (dir) yield { dir, base: isDir ? null : baseOf(path) };
    }
  } finally {
    steps.end();
  }
}

function isDirectory(dir: Dir, name: Buffer): boolean {
  return lstatSync(within(dir, name), { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function namesIn(dir: Dir): Buffer[] {
  return readdirSync(within(dir, Buffer.from('.')), { encoding: 'buffer' });
}
