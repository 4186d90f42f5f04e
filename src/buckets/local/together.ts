// Many small objects at once. What the kernel does in memory for one of them takes less than to ask another thread, so
// that they are written one after the other, brought to the disk together, and only then named.

import { randomBytes } from 'node:crypto';
import { closeSync, fdatasync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Context } from '../../core/model.ts';
import { type Pace, paceOf } from '../../core/pace.ts';
import { gate, mapBounded } from '../../core/parallel.ts';
import type { Bucket, SmallObject } from '../../core/storage.ts';
import { turns } from '../../core/turns.ts';
import { checkKey } from '../keys.ts';
import { DRAFTS, FILE_MODE, tidyOnce } from './draft.ts';
import { failureOf } from './failures.ts';
import { publish, putAlone } from './put.ts';
import { nameOf, type Root, syncFolder } from './root.ts';

/** A larger one costs more than its calls. */
const BYTES_MAX = 256 * 1024;
/** Of objects, each of which is an open file until it has its name. */
const TOGETHER = 256;
const OPEN_MAX = 2 * TOGETHER;
/** Node has four threads for this; each has its next one waiting. */
const SYNCS_AT_ONCE = 8;
const FOLDERS_AT_ONCE = 8;
const ALONE_AT_ONCE = 16;
/** Of memory, and not of a disk that is waited for: where processors are busy, a call is often interrupted. */
const SLOW_MS = 5;

const sync = promisify(fdatasync);

/** Written, and not named yet. */
interface Draft {
  readonly key: string;
  readonly path: string;
  readonly fd: number;
  named: boolean;
}

/** What is large, or lies on a disk that is slow or none of this machine, is put as if it were alone. */
export function togetherIn(root: Root): NonNullable<Bucket['putAll']> {
  const pace = paceOf(SLOW_MS);
  const files = gate(OPEN_MAX);
  return async (ctx, objects) => {
    for (const { key } of objects) checkKey(key);
    ctx.signal.throwIfAborted();
    const left: SmallObject[] = [];
    for (let at = 0; at < objects.length; at += TOGETHER) {
      const some = objects.slice(at, at + TOGETHER);
      left.push(...(await files.run(() => putSome(ctx, root, pace, some), some.length)));
    }
    await mapBounded(left, ALONE_AT_ONCE, ({ key, body }) => putAlone(ctx, root, key, body));
  };
}

/** Resolves to those that are for the long way. */
async function putSome(ctx: Context, root: Root, pace: Pace, objects: readonly SmallObject[]): Promise<SmallObject[]> {
  const turn = turns(ctx);
  const folder = await root.makeFolder(DRAFTS);
  const name = randomBytes(12).toString('hex');
  const drafts: Draft[] = [];
  const left: SmallObject[] = [];
  try {
    for (const [n, object] of objects.entries()) {
      await turn();
      const isQuick = object.body.length <= BYTES_MAX && root.isLocal() && !pace.isSlow();
      const path = `${folder}/${name}-${n}`;
      const fd = isQuick ? pace.timed(ctx, () => writeNow(path, object.body)) : null;
      if (fd === null) left.push(object);
      else drafts.push({ key: object.key, path, fd, named: false });
    }
    const [first] = drafts;
    if (first) await tidyOnce(root, first.path);
    await bringToDisk(drafts, root.url);
    ctx.signal.throwIfAborted();
    await nameAll(root, drafts);
  } finally {
    for (const draft of drafts) discard(draft);
  }
  return left;
}

/** Null when anything is wrong: the long way meets it again, and tells. */
function writeNow(path: string, body: Uint8Array): number | null {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'wx', FILE_MODE);
    for (let at = 0; at < body.length; ) at += writeSync(fd, body, at);
    return fd;
  } catch {
    if (fd !== undefined) discard({ path, fd, named: false });
    return null;
  }
}

async function bringToDisk(drafts: readonly Draft[], url: string): Promise<void> {
  try {
    await mapBounded(drafts, SYNCS_AT_ONCE, ({ fd }) => sync(fd));
  } catch (error) {
    throw failureOf(error, 'writing to the disk', url);
  }
}

async function nameAll(root: Root, drafts: readonly Draft[]): Promise<void> {
  const byFolder = Map.groupBy(drafts, ({ key }) => key.slice(0, key.lastIndexOf('/') + 1));
  await mapBounded(byFolder, FOLDERS_AT_ONCE, async ([key, some]) => {
    const folder = await root.makeFolder(key);
    const left = some.filter((draft) => !nameNow(draft, folder)); // at once: it may be another folder a moment later
    try {
      await syncFolder(folder);
    } catch (error) {
      throw failureOf(error, `writing ${key}`, root.url);
    }
    for (const draft of left) {
      await publish(root, draft.path, draft.key, false);
      draft.named = true;
    }
  });
}

/** False when anything is wrong, as above. */
function nameNow(draft: Draft, folder: string): boolean {
  try {
    renameSync(draft.path, `${folder}/${nameOf(draft.key)}`);
    draft.named = true;
  } catch {}
  return draft.named;
}

function discard({ fd, path, named }: Pick<Draft, 'fd' | 'path' | 'named'>): void {
  try {
    closeSync(fd);
    if (!named) rmSync(path, { force: true });
  } catch {} // it goes a day later, as that of a dead process
}
