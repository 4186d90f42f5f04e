// Looks for damage: each manifest, each part list, each stored object, and as much of the data as was asked for.

import { createHash } from 'node:crypto';
import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Finding } from '../../core/model.ts';
import type { Bucket, CheckOptions } from '../../core/storage.ts';
import type { Entry } from './entries.ts';
import { aboutFolder, folderEntries } from './folder.ts';
import { openIndex, type PartIndex } from './index.ts';
import { isFolder } from './keys.ts';
import { againHint, IMPORTED, type PlainPoint } from './manifest.ts';
import { contentOf } from './source.ts';

const OBJECTS_AT_ONCE = 16;
const SHARES = 100;
const HINT_UNREADABLE = 'restore from another store; to copy the point here again, delete its manifest and files first';

/** All damage to one committed point. */
export async function* checkPoint(
  ctx: Context,
  bucket: Bucket,
  plain: PlainPoint,
  options: CheckOptions,
): AsyncIterable<Finding> {
  const hint = againHint(plain.place);
  for await (const each of findingsOf(ctx, bucket, plain, options))
    yield each.verdict === 'fail' ? { ...each, hint } : each;
}

async function* findingsOf(
  ctx: Context,
  bucket: Bucket,
  plain: PlainPoint,
  options: CheckOptions,
): AsyncIterable<Finding> {
  const { id } = plain.place;
  if (!plain.proved) {
    const check = `the manifest of ${id} is the one that was committed`;
    yield { check, verdict: 'unknown', detail: 'its checksum is missing' };
  }
  for (const [component, { error, parts, method }] of Object.entries(plain.point.components)) {
    if (error) continue;
    const where = `${id}/${component}`;
    let index: PartIndex;
    try {
      index = await openIndex(
        ctx,
        bucket,
        { point: id, component },
        plain.index(component) ?? { bytes: 0, sha256: '' },
      );
    } catch (problem) {
      yield damaged(`the part list of ${where} is whole`, problem);
      continue;
    }
    const sizes = new Map(plain.files().map(({ file, size }) => [file, size]));
    yield* checkParts(ctx, bucket, where, index, { ...options, sizes });
    const [folder] = plain.files(component).filter(({ file }) => isFolder(file));
    if (folder && method !== IMPORTED) yield* checkFolder(ctx, bucket, folder.file);
    ctx.progress({ task: where, phase: 'verify', items: parts.count });
  }
}

/** What a folder says of itself is needed when it lies alone somewhere. */
async function* checkFolder(ctx: Context, bucket: Bucket, folder: string): AsyncIterable<Finding> {
  try {
    const { files } = await aboutFolder(ctx, bucket, folder);
    for await (const _ of folderEntries(ctx, bucket, folder, files)) ctx.signal.throwIfAborted();
  } catch (problem) {
    yield damaged(`the list of files of ${folder} is whole`, problem);
  }
}

/** A point whose manifest can't be read. */
export function unreadable(id: string, problem: unknown): Finding {
  const hint = isFailure(problem) && problem.hint ? problem.hint : HINT_UNREADABLE;
  return { ...damaged(`the manifest of ${id} is the one that was committed`, problem), hint };
}

interface PartOptions extends CheckOptions {
  /** Of files, by key. */
  readonly sizes: ReadonlyMap<string, number>;
}

async function* checkParts(
  ctx: Context,
  bucket: Bucket,
  where: string,
  index: PartIndex,
  options: PartOptions,
): AsyncIterable<Finding> {
  let batch: Entry[] = [];
  const flush = async (): Promise<readonly (Finding | null)[]> => {
    const entries = batch;
    batch = [];
    return await Promise.all(entries.map((entry) => checkPart(ctx, bucket, `${where}/${entry.name}`, entry, options)));
  };
  for await (const entry of index.entries(ctx)) {
    batch.push(entry);
    if (batch.length >= OBJECTS_AT_ONCE) yield* present(await flush());
  }
  yield* present(await flush());
}

async function checkPart(
  ctx: Context,
  bucket: Bucket,
  what: string,
  entry: Entry,
  options: PartOptions,
): Promise<Finding | null> {
  const check = `${what} is whole`;
  try {
    if (isInShare(entry, options)) {
      for await (const _ of contentOf(ctx, bucket, entry, what)) ctx.signal.throwIfAborted();
      if (entry.offset === undefined) return null; // of a file with several parts this was one
    }
    const { bytes, archived } = await bucket.head(ctx, entry.key);
    if (archived) return { check, verdict: 'unknown', detail: `${entry.key} is archived and can't be read now` };
    const expected = (entry.offset === undefined ? undefined : options.sizes.get(entry.key)) ?? entry.stored.bytes;
    if (bytes === expected) return null;
    return { check, verdict: 'fail', detail: `${entry.key} has ${bytes} bytes, not ${expected}` };
  } catch (problem) {
    return damaged(check, problem);
  }
}

/** What shows damage is a fail; what only kept us from looking is unknown; a stop is a stop. */
function damaged(check: string, problem: unknown): Finding {
  if (isFailure(problem, 'interrupted') || !isFailure(problem)) throw problem;
  const lost = isFailure(problem, 'checksum') || isFailure(problem, 'missing') || isFailure(problem, 'malformed');
  const detail = messageOf(problem);
  return { check, verdict: lost ? 'fail' : 'unknown', detail };
}

/**
 * Parts are split by the hash of their bytes and their key into 100 shares; the check reads some of them, going round.
 */
function isInShare({ key, sha256 }: Entry, { readData, from = 0 }: CheckOptions): boolean {
  const share = createHash('sha256').update(sha256).update(key).digest().readUInt32LE(0) % SHARES;
  return (share - from + SHARES) % SHARES < readData * SHARES;
}

function* present(findings: readonly (Finding | null)[]): Iterable<Finding> {
  for (const each of findings) if (each) yield each;
}
