// A directory of this machine as the target of a restore: the data directory, and those of its tablespaces. Each is
// empty or not there yet, or holds what a restore that was broken off left, which says so.

import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readdirSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Failure, systemCode } from '../../../core/errors.ts';
import { close, type Dir, labelOf, openRoot, within } from '../../beneath.ts';
import { attempt, explained, notOnDisk } from '../../failures.ts';
import type { DirectorySettings } from '../settings.ts';
import type { Tablespace } from './base-backup.ts';
import { refuseServed } from './live-server.ts';
import { DATA_TREE, type Tree, tablespaceTree } from './names.ts';

/** In a directory that is not whole. A server takes no notice of it. */
export const MARK = 'LIFEBOAT_UNFINISHED';
const MARK_TEXT = `Lifeboat has not finished restoring this directory, and removes this file when it has. Do not start a
server on it. The same restore, repeated, clears the directory and begins anew; with --delta it goes on.
`;
const MARK_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
const DIR_MODE = 0o700;
const SPARE_BYTES = 64 * 1024 * 1024;
/** In the setting, for all tablespaces that are not named. */
const OTHERS = '*';

/** One directory of the server and where it goes. */
export interface Place extends Tree {
  readonly path: string;
  /** Null for the data directory. */
  readonly oid: string | null;
}

/** The data directory is the first. */
export function placesOf(
  settings: DirectorySettings,
  tablespaces: readonly Tablespace[],
): readonly [Place, ...Place[]] {
  const others = settings.tablespaces[OTHERS];
  const spaces = tablespaces.map(({ oid, location }): Place => {
    const named = Object.hasOwn(settings.tablespaces, location) ? settings.tablespaces[location] : undefined;
    const path = named ?? (others === undefined ? location : join(others, oid));
    return { ...tablespaceTree(oid), oid, path };
  });
  const places: [Place, ...Place[]] = [{ ...DATA_TREE, oid: null, path: settings.path }, ...spaces];
  for (const [at, place] of places.entries()) {
    if (resolve(place.path) !== place.path || /\p{Cc}/u.test(place.path)) {
      throw new Failure('malformed', `a tablespace was at ${JSON.stringify(place.path)}, which is no place`);
    }
    const other = places.find((each, i) => i !== at && `${place.path}/`.startsWith(`${each.path}/`));
    if (!other) continue;
    throw new Failure(
      'settings-invalid',
      `${place.path} and ${other.path} can't both be restored: one is in the other`,
      {
        hint: `say where tablespaces go: tablespaces: { ${place.path}: DIRECTORY }`,
      },
    );
  }
  return places;
}

/** What is in the way; null when a restore may write there. */
export function heldIn(path: string): string | null {
  let names: string[];
  try {
    names = readdirSync(path);
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null;
    throw explained(path, cause);
  }
  if (names.length === 0 || names.includes(MARK)) return null;
  return `${join(path, names[0] ?? '')} and perhaps more`;
}

export interface OpenPlace extends Place {
  readonly root: Dir;
}
export interface OpenPlaces extends Disposable {
  readonly all: readonly [OpenPlace, ...OpenPlace[]];
  /** Whom the files are given to; null where they stay ours. */
  readonly owner: Owner | null;
  /** What was left by a restore that was broken off is gone. */
  readonly cleared: readonly string[];
}
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** 'target-not-empty' where a restore may not write, 'blocked' where a server does. */
export function refuseData(places: readonly Place[]): void {
  if (places[0]) refuseServed(places[0].path);
  for (const { path } of places) {
    const held = heldIn(path);
    if (held !== null) throw notEmpty(path, held);
  }
}

function notEmpty(path: string, held: string): Failure {
  return new Failure('target-not-empty', `${path} is not restored: it holds ${held}`, {
    hint:
      'name a directory that is empty or not there yet, or move away what it holds; an old data directory of the same ' +
      'server can be restored over with --delta',
  });
}

/** Opens the places, marked, and empty unless what they hold is to be looked through. */
export function openPlaces(
  places: readonly [Place, ...Place[]],
  prepare: (root: Dir) => boolean = emptied,
): OpenPlaces {
  const owner = ownerFor(places[0].path);
  const opened: OpenPlace[] = [];
  const cleared: string[] = [];
  const closeAll = (): void => opened.forEach(({ root }) => void close(root));
  try {
    const open = (place: Place): OpenPlace => {
      const one = { ...place, root: openRoot(place.path) };
      opened.push(one);
      return one;
    };
    const [data, ...spaces] = places;
    const all: [OpenPlace, ...OpenPlace[]] = [open(data), ...spaces.map(open)];
    for (const { path, root } of all) {
      if (prepare(root)) cleared.push(path);
      attempt(path, () => give(root.fd, owner));
    }
    return { all, owner, cleared, [Symbol.dispose]: closeAll };
  } catch (error) {
    closeAll();
    throw error;
  }
}

/** From now on it is not whole; what it holds stays. */
export function marked(root: Dir): false {
  const mark = Buffer.from(MARK);
  attempt(labelOf(root, mark), () => {
    const fd = openSync(within(root, mark), MARK_FLAGS, 0o600);
    writeFileSync(fd, MARK_TEXT);
    closeSync(fd);
  });
  syncOpen(root);
  return false;
}

/** Marks it first, so that what is half cleared is known as well. True when there was anything. */
function emptied(root: Dir): boolean {
  const mark = Buffer.from(MARK);
  const names = readdirSync(within(root, Buffer.from('.')), { encoding: 'buffer' });
  if (names.length === 0) {
    attempt(labelOf(root, mark), () => writeFileSync(within(root, mark), MARK_TEXT, { flag: 'wx', mode: 0o600 }));
    return false;
  }
  // What came since it was looked at is somebody else's.
  if (!names.some((name) => name.equals(mark))) throw notEmpty(root.label, String(names[0]));
  for (const name of names) {
    if (name.equals(mark)) continue;
    attempt(labelOf(root, name), () => rmSync(within(root, name), { recursive: true, force: true }));
  }
  return true;
}

/** From now on they are whole. */
export function unmark({ all, owner }: Pick<OpenPlaces, 'all' | 'owner'>): void {
  for (const { root } of all.toReversed()) {
    attempt(labelOf(root, Buffer.from(MARK)), () => rmSync(within(root, Buffer.from(MARK)), { force: true }));
    attempt(root.label, () => give(root.fd, owner));
    syncOpen(root);
  }
}

/** What is in a directory. */
export function syncOpen({ fd, label }: Dir): void {
  try {
    fsyncSync(fd);
  } catch (cause) {
    throw notOnDisk(label, cause);
  }
}

/** A directory that is open: nobody else's, as a server wants it. */
export function give(fd: number, owner: Owner | null): void {
  if (owner) fchownSync(fd, owner.uid, owner.gid);
  fchmodSync(fd, DIR_MODE);
}

/** Root gives all to who owns the directory, or the one that it is made in: a server does not run as root. */
export function ownerFor(path: string): Owner | null {
  if (process.geteuid?.() !== 0) return null;
  let there = path;
  while (!existsSync(there)) there = dirname(there);
  const { uid, gid } = statSync(there);
  return uid === 0 ? null : { uid, gid };
}

/** Before anything is written: does it fit? Several may lie on one disk. */
export function checkSpace(needs: readonly { readonly path: string; readonly bytes: number }[]): void {
  const disks = new Map<bigint, { path: string; bytes: number }>();
  for (const { path, bytes } of needs) {
    let place = path;
    while (!existsSync(place)) place = dirname(place);
    const { dev } = statSync(realpathSync(place), { bigint: true });
    disks.set(dev, { path: place, bytes: (disks.get(dev)?.bytes ?? 0) + bytes });
  }
  for (const { path, bytes } of disks.values()) {
    const { bavail, bsize } = statfsSync(path);
    if (bytes + SPARE_BYTES <= bavail * bsize) continue;
    throw new Failure('no-space', `${path} has ${bavail * bsize} bytes free, and ${bytes} are to be restored`);
  }
}
